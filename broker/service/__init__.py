"""The async shell round the engine: it runs what the engine decides."""
