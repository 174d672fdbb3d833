/* What decides where Claude Code would send the token, as far as this process can see it. The daemon judges it
   (broker/service/guard.py); values that are secrets themselves stay here. */
#include "broker_helper.h"

#include <string.h>

static bool begins(const char *name, size_t length, const char *start)
{
    return length >= strlen(start) && memcmp(name, start, strlen(start)) == 0;
}

static bool ends(const char *name, size_t length, const char *end)
{
    return length >= strlen(end) && memcmp(name + length - strlen(end), end, strlen(end)) == 0;
}

static bool is(const char *name, size_t length, const char *whole)
{
    return length == strlen(whole) && memcmp(name, whole, length) == 0;
}

bool steers(const char *name, size_t length)
{
    if (begins(name, length, "ANTHROPIC_"))
        return ends(name, length, "_URL");
    if (!begins(name, length, "CLAUDE"))
        return false;
    return begins(name, length, "CLAUDE_CODE_USE_") || begins(name, length, "CLAUDE_CODE_SKIP_")
        || is(name, length, "CLAUDE_CONFIG_DIR") || is(name, length, "CLAUDE_CODE_IGNORE_PERSISTED_TRUST")
        || is(name, length, "CLAUDECODE"); /* Claude Code's tools and hooks have it, its helper has not */
}

bool holds_secret(const char *name, size_t length)
{
    return ends(name, length, "_TOKEN") || ends(name, length, "_KEY");
}
