/* What the caller decides: one optional name, a few variables, and where the socket is. */
#include "broker_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CREDENTIAL_MAX = 256 };
static const long long MS_MAX = 1000000000000; /* larger numbers count as this, some 30 years */
static const long long TTL_DEFAULT_MS = 300000; /* Claude Code's own */
static const long long TIMEOUT_DEFAULT_MS = 9000; /* Claude Code complains at 10 s */

static const char usage[] =
    "usage: broker-helper [NAME]\n"
    "Print the credential NAME (else $BROKER_CREDENTIAL, else the configured default) for Claude Code's apiKeyHelper.\n"
    "       broker-helper --aws NAME\n"
    "Print the keys of an AWS session as AWS's credential_process does.\n";
static const char right[] = "usage: broker-helper [NAME], or: broker-helper --aws NAME";

/* An empty variable counts as unset. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* The XDG specification: relative ones are to be ignored. */
static const char *absolute_variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] == '/' ? value : NULL;
}

static long long milliseconds(const char *name, long long fallback, long long least)
{
    const char *text = getenv(name);
    if (text == NULL)
        return fallback;
    long long value = 0;
    const char *digit = text;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        value = value * 10 + (*digit - '0');
        if (value > MS_MAX)
            value = MS_MAX;
    }
    if (digit != text && *digit == '\0' && value >= least)
        return value;
    warn("%s is not a whole number of milliseconds of at least %lld; using %lld", name, least, fallback);
    return fallback;
}

static _Noreturn void tell(const char *text)
{
    _exit(write(STDERR_FILENO, text, strlen(text)) < 0 ? EX_IOERR : EX_OK);
}

static const char *credential_argument(int argc, char **argv, bool aws)
{
    if (argc > 2)
        fail(EX_USAGE, "too many arguments; %s", right);
    if (argc < 2 && aws)
        fail(EX_USAGE, "--aws takes a credential's name; %s", right);
    if (argc < 2)
        return NULL;
    if (!aws && strcmp(argv[1], "--help") == 0)
        tell(usage);
    if (!aws && strcmp(argv[1], "--version") == 0)
        tell("broker-helper " BROKER_VERSION " (native)\n");
    if (argv[1][0] == '-')
        fail(EX_USAGE, "unknown option %.40s; %s", argv[1], right);
    if (argv[1][0] == '\0')
        fail(EX_USAGE, "the credential's name is empty; %s", right);
    return argv[1];
}

static void set_socket(struct settings *settings, const char *head, const char *tail)
{
    if (head[0] != '/') /* looked up in the project's folder, where a stranger may have put a socket */
        fail(EX_CONFIG, "socket path %s%s: must be absolute; set BROKER_SOCKET to an absolute path", head, tail);
    if (snprintf(settings->socket, SOCKET_MAX, "%s%s", head, tail) >= SOCKET_MAX)
        fail(EX_CONFIG, "socket path %.400s%s: longer than a socket address can be (%d bytes); set a shorter BROKER_SOCKET",
             head, tail, SOCKET_MAX);
}

static bool is_own_folder(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid();
}

static void find_socket(struct settings *settings)
{
    char run_user[32];
    snprintf(run_user, sizeof run_user, "/run/user/%lu", (unsigned long)geteuid());
    const char *value;
    if ((value = variable("BROKER_SOCKET")) != NULL)
        set_socket(settings, value, "");
    else if ((value = absolute_variable("XDG_RUNTIME_DIR")) != NULL)
        set_socket(settings, value, "/broker/broker.sock");
    else if (is_own_folder(run_user))
        set_socket(settings, run_user, "/broker/broker.sock");
    else if ((value = variable("BROKER_STATE_DIR")) != NULL)
        set_socket(settings, value, "/broker.sock");
    else if ((value = absolute_variable("XDG_STATE_HOME")) != NULL)
        set_socket(settings, value, "/broker/broker.sock");
    else if ((value = variable("HOME")) != NULL)
        set_socket(settings, value, "/.local/state/broker/broker.sock");
    else
        fail(EX_CONFIG, "neither XDG_STATE_HOME nor HOME is set, so there is no place for the broker's files; set HOME");
}

static void find_folder(struct settings *settings)
{
    size_t length = (size_t)(strrchr(settings->socket, '/') - settings->socket);
    while (length > 1 && settings->socket[length - 1] == '/')
        length--; /* lstat would follow a link that ends in a slash */
    if (length == 0)
        length = 1;
    memcpy(settings->folder, settings->socket, length);
    settings->folder[length] = '\0';
}

void read_settings(struct settings *settings, int argc, char **argv)
{
    settings->started_ms = now_ms();
    settings->aws = argc > 1 && strcmp(argv[1], "--aws") == 0;
    settings->credential = credential_argument(argc - settings->aws, argv + settings->aws, settings->aws);
    if (settings->credential == NULL)
        settings->credential = variable("BROKER_CREDENTIAL");
    if (settings->credential != NULL && strlen(settings->credential) > CREDENTIAL_MAX)
        fail(EX_USAGE, "the credential's name is longer than %d bytes", CREDENTIAL_MAX);
    settings->ttl_ms = milliseconds("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", TTL_DEFAULT_MS, 0);
    settings->timeout_ms = milliseconds("BROKER_TIMEOUT_MS", TIMEOUT_DEFAULT_MS, 1);
    const char *autostart = getenv("BROKER_AUTOSTART");
    settings->may_start = autostart == NULL || strcmp(autostart, "0") != 0;
    find_socket(settings);
    find_folder(settings);
}
