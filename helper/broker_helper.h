/* What the parts of broker-helper share. One run, one thread: whatever fails ends the process. */
#ifndef BROKER_HELPER_H
#define BROKER_HELPER_H

#define _GNU_SOURCE /* struct ucred, close_range */

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>
#include <sysexits.h> /* the exit codes of the interface */

#ifndef BROKER_VERSION
#define BROKER_VERSION "unbuilt"
#endif

enum { SOCKET_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) };

/* Everything the caller decides, read once from arguments and environment; times in ms. */
struct settings {
    long long started_ms;
    long long timeout_ms;
    long long ttl_ms;
    const char *credential; /* NULL: the daemon's default */
    bool aws;               /* print what AWS's credential_process does instead of a token */
    bool may_start;
    char socket[SOCKET_MAX];
    char folder[SOCKET_MAX]; /* the one that the socket is in */
};

/* What came back: for 200 the token, else a reason. The body lies in a buffer with room for one more byte. */
struct answer {
    int status;
    char *body;
    size_t length;
    bool heard; /* false: the connection broke off, so perhaps nobody read what was asked */
};

/* report.c: one line on stderr, printable characters only. */
_Noreturn void fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* deadline.c: one clock that counts suspend, and the run's whole deadline on it. */
long long now_ms(void);
long long remaining_ms(const struct settings *settings, const char *waiting_for); /* > 0, or ends the run with 75 */
void wait_for(const struct settings *settings, int descriptor, short events, const char *waiting_for);

/* settings.c */
void read_settings(struct settings *settings, int argc, char **argv);

/* connection.c: a descriptor, or -1 when nobody listens; whatever is unsafe ends the run with 77. */
int try_connect(const struct settings *settings);
bool is_private(const char *path, bool folder);
int above_standard(int descriptor);

/* autostart.c: a connected descriptor, from a daemon started for us if need be. */
int reach_daemon(const struct settings *settings);

/* steering.c: which variables the daemon gets to see, and which of them by name only. */
bool steers(const char *name, size_t length);
bool holds_secret(const char *name, size_t length);

/* request.c: percent-encoding makes three bytes of one; the daemon takes header lines as long as these become. */
enum { FOLDER_MAX = 4096, VALUE_MAX = 4096, VARIABLES_MAX = 16 * 1024, REQUEST_MAX = 2048 + 3 * FOLDER_MAX + VARIABLES_MAX };
struct request {
    size_t length;
    char bytes[REQUEST_MAX];
};
void write_request(struct request *request, const struct settings *settings);

/* exchange.c: false when the connection closed without a byte of an answer. */
bool ask(const struct settings *settings, int connection, struct answer *answer);

/* answer.c: the strict reading of an HTTP answer; whatever is odd ends the run with 70. */
enum { HEAD_MAX = 32 * 1024, ANSWER_MAX = 64 * 1024, TOKEN_MAX = 16 * 1024 };
size_t head_length(const char *bytes, size_t have, size_t seen_before);
size_t parse_head(char *head, size_t length, struct answer *answer);
void check_token(const struct answer *answer);
_Noreturn void fail_as_answered(const struct answer *answer);

#endif
