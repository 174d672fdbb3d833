"""What outlives the daemon: the encrypted store, the audit trail, and what a person allowed.

`store` is the store (`interface`: as others see it), `loading` and `writing` its file, `records` and `header` what is in
that, `homes` where its key lives; `audit` the trail; `pins` the projects' settings that are allowed.
"""
