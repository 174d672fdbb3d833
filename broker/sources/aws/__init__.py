"""`aws`: STS sessions, Bedrock API keys, Secrets Manager and Parameter Store, on botocore (FACTS, "AWS")."""
