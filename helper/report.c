/* One line on stderr. A message may quote paths and the daemon's words, so only printable ASCII gets through:
   terminal escapes in either must not reach the user's screen. */
#include "broker_helper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void report(const char *format, va_list arguments)
{
    static const char prefix[] = "broker-helper: ";
    char line[1024];
    size_t length = sizeof prefix - 1;
    for (size_t i = 0; i < length; i++)
        line[i] = prefix[i];
    vsnprintf(line + length, sizeof line - length - 1, format, arguments);
    for (; line[length] != '\0'; length++)
        if (line[length] < ' ' || line[length] > '~')
            line[length] = '?';
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0)
        return; /* nobody left to tell */
}

void warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(format, arguments);
    va_end(arguments);
}

_Noreturn void fail(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report(format, arguments);
    va_end(arguments);
    _exit(exit_code);
}
