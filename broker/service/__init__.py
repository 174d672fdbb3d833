"""The async shell round the engine: it runs what the engine decides.

Tokens: `broker` finds the credential that is asked for (`entries`, `pools`, `relatives`), whose `keeper` runs its life, by
one `attempt` in one `flight` at a time, woken by `alarm` and `watcher`.
Who asks: `admission` says whether a caller may have it, by its `ancestors`, as one of the `consumers` (`consumer_tokens`),
and by the `guard`, which reads `claude_settings`.
What lasts: `safe` holds what is in memory and at rest (`at_rest`, `cache`), and locks it (`desktop`); `secrets` are what a
person stored, `logins` and `underway` their sign-ins, by `changes` that go on to their end; `spending` and `promises` see
to tokens that may be used once, or are given back.
What is told: `events`, also of what is `allowed`, and of these the `journal`; `report` and `pool_report` for the status.
"""
