/* No daemon yet: exactly one of however many helpers runs `broker start`, the others wait for its daemon. */
#include "broker_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

enum { PAUSE_FIRST_MS = 10, PAUSE_MAX_MS = 100, GRACE_MS = 2000, NOTE_LENGTH = 25 };

extern char **environ;

/* What `broker start` gets to see. PATH and the rest may have been planted by a project's settings. */
static const char *const passed[] = {
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "BROKER_CONFIG", "BROKER_SOCKET", "BROKER_STATE_DIR", "BROKER_LOG_LEVEL",
};
enum { PASSED = sizeof passed / sizeof passed[0] };

/* The folder of our own executable, without a closing slash; `broker` is beside us. */
static const char *own_folder(void)
{
    static char path[PATH_MAX];
#ifdef __APPLE__
    char found[PATH_MAX];
    uint32_t size = sizeof found;
    bool known = _NSGetExecutablePath(found, &size) == 0 && realpath(found, path) != NULL;
#else
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    bool known = length > 0;
    path[known ? length : 0] = '\0';
#endif
    char *slash = known ? strrchr(path, '/') : NULL;
    if (slash == NULL)
        fail(EX_UNAVAILABLE, "no daemon listens, and /proc does not say where broker is; run: broker start");
    *slash = '\0';
    return path;
}

static void close_from(unsigned first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
#endif
    struct rlimit limit;
    unsigned end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1048576 ? (unsigned)limit.rlim_cur : 1048576;
    for (unsigned descriptor = first; descriptor < end; descriptor++)
        close((int)descriptor);
}

static char *environment_entry(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; *entry != NULL; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry;
    return NULL;
}

static _Noreturn void become_broker_start(const char *folder)
{
    static char program[PATH_MAX + 8], path[PATH_MAX + 64];
    snprintf(program, sizeof program, "%s/broker", folder);
    snprintf(path, sizeof path, "PATH=%s:/usr/local/bin:/usr/bin:/bin", folder);
    char *environment[PASSED + 2] = {path};
    for (size_t i = 0, used = 1; i < PASSED; i++)
        if ((environment[used] = environment_entry(passed[i])) != NULL)
            used++;
    signal(SIGPIPE, SIG_DFL);
    setsid();
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || chdir("/") != 0)
        _exit(EX_OSERR);
    for (int descriptor = 0; descriptor < 3; descriptor++)
        dup2(nothing, descriptor);
    close_from(3);
    char word[] = "start";
    char *arguments[] = {program, word, NULL};
    execve(program, arguments, environment);
    _exit(127);
}

static pid_t run_broker_start(const char *folder)
{
    signal(SIGCHLD, SIG_DFL); /* ignored, as some callers leave it, its exit code would be lost */
    pid_t child = fork();
    if (child < 0)
        fail(EX_UNAVAILABLE, "no daemon listens, and it cannot be started: %s", strerror(errno));
    if (child == 0)
        become_broker_start(folder);
    return child;
}

static _Noreturn void fail_to_start(const struct settings *settings, int exit_code)
{
    const char *folder = own_folder();
    if (exit_code == 0)
        fail(EX_UNAVAILABLE, "%s/broker start went well, but no daemon listens on %s; see: broker status", folder,
             settings->socket);
    if (exit_code == EX_CONFIG)
        fail(EX_UNAVAILABLE, "no daemon listens, and %s/broker start failed (exit 78); run: broker config check", folder);
    fail(EX_UNAVAILABLE, "no daemon listens, and %s/broker start failed (exit %d); run: broker start", folder, exit_code);
}

/* The note tells the helpers that waited for the same start how it ended, so that they do not try in turn. */
static void write_note(int lock, int exit_code)
{
    char note[NOTE_LENGTH + 8];
    snprintf(note, sizeof note, "%020lld %03u\n", now_ms(), (unsigned)exit_code % 1000U);
    if (pwrite(lock, note, NOTE_LENGTH, 0) != NOTE_LENGTH && ftruncate(lock, 0) != 0)
        return; /* without a note the others try for themselves */
}

/* A failure after our own start concerns us; an older one, or one of an earlier boot, does not. */
static void heed_note(const struct settings *settings, int lock)
{
    char note[NOTE_LENGTH + 1] = {0};
    long long failed_ms;
    int exit_code;
    if (pread(lock, note, NOTE_LENGTH, 0) != NOTE_LENGTH || sscanf(note, "%20lld %3d", &failed_ms, &exit_code) != 2)
        return;
    if (failed_ms >= settings->started_ms && failed_ms <= now_ms())
        fail_to_start(settings, exit_code);
}

static void rest(const struct settings *settings, int *pause_ms)
{
    long long remaining = remaining_ms(settings, "the daemon is still starting");
    poll(NULL, 0, remaining < *pause_ms ? (int)remaining : *pause_ms);
    *pause_ms = *pause_ms + *pause_ms / 4 < PAUSE_MAX_MS ? *pause_ms + *pause_ms / 4 : PAUSE_MAX_MS;
}

/* -1 while it runs, else how it ended as a shell would say it. */
static int ended(pid_t child)
{
    int status;
    if (waitpid(child, &status, WNOHANG) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int start_under_lock(const struct settings *settings, int lock)
{
    int connection = try_connect(settings); /* whoever held the lock before may have brought it up */
    if (connection >= 0)
        return connection;
    heed_note(settings, lock);
    pid_t child = run_broker_start(own_folder());
    long long give_up_ms = LLONG_MAX;
    int exit_code = -1;
    for (int pause_ms = PAUSE_FIRST_MS;; rest(settings, &pause_ms)) {
        if (exit_code < 0 && (exit_code = ended(child)) >= 0)
            give_up_ms = exit_code == 0 ? now_ms() + GRACE_MS : 0;
        if ((connection = try_connect(settings)) >= 0)
            return connection;
        if (now_ms() >= give_up_ms) {
            write_note(lock, exit_code);
            fail_to_start(settings, exit_code);
        }
    }
}

static void make_folder(const char *folder)
{
    char path[SOCKET_MAX];
    snprintf(path, sizeof path, "%s", folder);
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0700);
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        fail(EX_UNAVAILABLE, "no daemon listens, and %s cannot be made: %s; set BROKER_SOCKET", folder, strerror(errno));
    is_private(folder, true);
}

/* Something wrong in the lock's place can be removed; a read-only or full file system has to be mended, or left. */
static _Noreturn void fail_to_lock(const char *folder, const char *path, int reason)
{
    struct stat found;
    if (reason != EROFS && lstat(path, &found) == 0)
        fail(EX_UNAVAILABLE, "%s: %s; run: rm %s", path, strerror(reason), path);
    fail(EX_UNAVAILABLE, "no daemon listens, and in %s nothing can be written: %s; set BROKER_SOCKET", folder,
         strerror(reason));
}

static int open_lock(const char *folder)
{
    char path[SOCKET_MAX + 16];
    snprintf(path, sizeof path, "%s/start.lock", folder);
    int lock = above_standard(open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (lock < 0)
        fail_to_lock(folder, path, errno);
    return lock;
}

static int start_or_wait(const struct settings *settings, int lock)
{
    for (int pause_ms = PAUSE_FIRST_MS;; rest(settings, &pause_ms)) {
        if (flock(lock, LOCK_EX | LOCK_NB) == 0)
            return start_under_lock(settings, lock);
        heed_note(settings, lock);
        int connection = try_connect(settings);
        if (connection >= 0)
            return connection;
    }
}

int reach_daemon(const struct settings *settings)
{
    static bool tried;
    int connection = try_connect(settings);
    if (connection >= 0)
        return connection;
    if (!settings->may_start || tried)
        fail(EX_UNAVAILABLE, "no daemon listens on %s; run: broker start (or: systemctl --user start broker.socket)",
             settings->socket);
    tried = true;
    make_folder(settings->folder);
    int lock = open_lock(settings->folder);
    connection = start_or_wait(settings, lock);
    close(lock);
    return connection;
}
