/* broker-helper: asks the broker's daemon for a token and prints it, and nothing else, on stdout.

   Claude Code runs it as its apiKeyHelper, before every session and again whenever upstream refuses a key, so it
   does as little as it can: no allocation, a dozen system calls, every size capped, one deadline over all. It ends
   with the exit codes of sysexits.h and one line on stderr that says what to do. Its twin with the same contract,
   for where no compiler works, is broker_helper.py. */
#include "broker_helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The token passes through this process's memory, and must not end up in a core file. */
static void forbid_core_dumps(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

static void print_token(const struct settings *settings, struct answer *answer)
{
    answer->body[answer->length] = '\n';
    for (size_t written = 0; written <= answer->length;) {
        ssize_t count = write(STDOUT_FILENO, answer->body + written, answer->length + 1 - written);
        if (count >= 0)
            written += (size_t)count;
        else if (errno == EAGAIN)
            wait_for(settings, STDOUT_FILENO, POLLOUT, "nobody reads it");
        else if (errno != EINTR)
            fail(EX_IOERR, "cannot write the token: %s", strerror(errno));
    }
    if (close(STDOUT_FILENO) != 0) /* where a full disk or quota may show only now */
        fail(EX_IOERR, "cannot write the token: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct answer answer;
    forbid_core_dumps();
    signal(SIGPIPE, SIG_IGN);
    read_settings(&settings, argc, argv);
    /* A daemon that drains or dies closes connections unanswered: the next one will answer. One that is killed also
       breaks off what still waits at its socket, which may be our second try: that one was asked of nobody. */
    for (int tries = 1; !ask(&settings, reach_daemon(&settings), &answer); tries++)
        if (tries >= (answer.heard ? 2 : 3))
            fail(EX_UNAVAILABLE, "the daemon closed every connection without an answer; see: broker status");
    if (answer.status != 200)
        fail_as_answered(&answer);
    check_token(&answer);
    print_token(&settings, &answer);
    return EX_OK;
}
