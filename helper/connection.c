/* Connects to the daemon, and makes sure that it is the user's own at the other end. */
#include "broker_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/ucred.h>
#endif

/* False when missing. A folder or socket that others own or may open could be a trap: whoever listens there
   would see what is asked, and could answer with a key of his own. */
bool is_private(const char *path, bool folder)
{
    struct stat found;
    if (lstat(path, &found) != 0) {
        if (errno == ENOENT)
            return false;
        fail(EX_NOPERM, "%s: %s; set BROKER_SOCKET to a path in a folder of your own", path, strerror(errno));
    }
    if (folder ? !S_ISDIR(found.st_mode) : !S_ISSOCK(found.st_mode))
        fail(EX_NOPERM, "%s: not a %s; run: rm %s", path, folder ? "folder of its own" : "socket", path);
    if (found.st_uid != geteuid())
        fail(EX_NOPERM, "%s: belongs to uid %lu, not to you; set BROKER_SOCKET to a path in a folder of your own", path,
             (unsigned long)found.st_uid);
    if (found.st_mode & 077)
        fail(EX_NOPERM, "%s: open to others (mode %04o); run: chmod %s %s", path, (unsigned)(found.st_mode & 07777),
             folder ? "700" : "600", path);
    return true;
}

/* With stdout closed by the caller, the next descriptor opened would be 1, and the token written into it. */
int above_standard(int descriptor)
{
    if (descriptor < 0 || descriptor > STDERR_FILENO)
        return descriptor;
    int higher = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(descriptor);
    return higher;
}

static int open_socket(void)
{
#ifdef SOCK_CLOEXEC
    int connection = above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
#else
    int connection = above_standard(socket(AF_UNIX, SOCK_STREAM, 0));
    if (connection >= 0)
        fcntl(connection, F_SETFD, FD_CLOEXEC);
#endif
    if (connection < 0)
        fail(EX_UNAVAILABLE, "cannot open a socket: %s", strerror(errno));
    return connection;
}

/* Race-free where the checks of the path are not: the kernel's word on who called listen(). */
static void check_peer(int connection, const char *path)
{
#ifdef __APPLE__
    struct xucred peer;
    socklen_t size = sizeof peer;
    bool known = getsockopt(connection, SOL_LOCAL, LOCAL_PEERCRED, &peer, &size) == 0;
    unsigned long uid = known ? peer.cr_uid : 0;
#else
    struct ucred peer;
    socklen_t size = sizeof peer;
    bool known = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    unsigned long uid = known ? peer.uid : 0;
#endif
    if (!known)
        fail(EX_NOPERM, "%s: cannot tell who listens there: %s", path, strerror(errno));
    if (uid != geteuid())
        fail(EX_NOPERM, "%s: uid %lu listens there, not you; run: rm %s", path, uid, path);
}

/* The kernel waits out a full accept queue for us, up to the deadline. */
static void limit_connect(int connection, long long limit_ms)
{
    struct timeval limit = {.tv_sec = (time_t)(limit_ms / 1000), .tv_usec = (suseconds_t)(limit_ms % 1000 * 1000)};
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

int try_connect(const struct settings *settings)
{
    if (!is_private(settings->folder, true) || !is_private(settings->socket, false))
        return -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, settings->socket, sizeof address.sun_path);
    for (;;) {
        int connection = open_socket();
        limit_connect(connection, remaining_ms(settings, "the daemon's queue is full"));
        if (connect(connection, (const struct sockaddr *)&address, sizeof address) == 0) {
            check_peer(connection, settings->socket);
            return connection;
        }
        int reason = errno;
        close(connection);
        if (reason == ENOENT || reason == ECONNREFUSED)
            return -1;
        if (reason != EINTR && reason != EAGAIN)
            fail(EX_UNAVAILABLE, "%s: %s; run: broker restart", settings->socket, strerror(reason));
    }
}
