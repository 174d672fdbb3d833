/* The whole run has one deadline, on a clock that also counts while the machine sleeps. */
#include "broker_helper.h"

#include <limits.h>
#include <poll.h>
#include <time.h>

#ifdef CLOCK_BOOTTIME
#define SUSPEND_AWARE CLOCK_BOOTTIME
#else
#define SUSPEND_AWARE CLOCK_MONOTONIC /* macOS: counts suspend */
#endif

long long now_ms(void)
{
    struct timespec now;
    clock_gettime(SUSPEND_AWARE, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

long long remaining_ms(const struct settings *settings, const char *waiting_for)
{
    long long remaining = settings->started_ms + settings->timeout_ms - now_ms();
    if (remaining <= 0)
        fail(EX_TEMPFAIL, "no token within %lld ms: %s; see: broker status", settings->timeout_ms, waiting_for);
    return remaining;
}

void wait_for(const struct settings *settings, int descriptor, short events, const char *waiting_for)
{
    for (;;) {
        long long remaining = remaining_ms(settings, waiting_for);
        struct pollfd ready = {.fd = descriptor, .events = events};
        if (poll(&ready, 1, remaining < INT_MAX ? (int)remaining : INT_MAX) > 0)
            return;
    }
}
