"""HTTP as every source speaks it: TLS by our rules, answers of limited size, errors in our words."""
