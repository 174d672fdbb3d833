"""A person's sign-in at IAM Identity Center, and the keys of an account and role that it gives."""
