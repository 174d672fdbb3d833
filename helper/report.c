/* One line on stderr. A message may quote paths and the daemon's words: UTF-8 that shows something goes through as it
   is, terminal escapes, and what would turn the line round or hide in it, must not reach the user's screen. */
#include "broker_helper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct range {
    unsigned long first, last;
};

static const struct range hidden[] = {
    {0x00, 0x9f},       /* control characters, and ASCII written longer than it is */
    {0xad, 0xad},       /* the soft hyphen */
    {0x61c, 0x61c},     /* marks of direction, here and below */
    {0x180e, 0x180e},   /* without width, here and below */
    {0x200b, 0x200f},   /* both */
    {0x2028, 0x202e},   /* ends of lines and paragraphs, directions */
    {0x2060, 0x206f},   /* both */
    {0xd800, 0xf8ff},   /* halves of characters, and what means something in one font alone */
    {0xfeff, 0xfeff},   /* the byte-order mark */
    {0xfff0, 0xffff},   /* specials */
    {0xe0000, 0x1fffff} /* tags, private planes, and what is none */
};

/* How many bytes the character at `bytes` has that may be shown; 0: none, show a question mark for the one byte. */
static size_t shown(const char *bytes)
{
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned long code = (unsigned char)bytes[0];
    if (code >= ' ' && code <= '~')
        return 1;
    if (code < 0xc0 || code > 0xf7)
        return 0;
    size_t length = code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : 2;
    code &= 0x7fUL >> length;
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)bytes[i] & 0xc0U) != 0x80U) /* the NUL at the end too */
            return 0;
        code = code << 6 | ((unsigned char)bytes[i] & 0x3fU);
    }
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        if (code >= hidden[i].first && code <= hidden[i].last)
            return 0;
    return code < least[length] ? 0 : length;
}

static void report(const char *format, va_list arguments)
{
    static const char prefix[] = "broker-helper: ";
    char line[1024];
    size_t length = sizeof prefix - 1;
    for (size_t i = 0; i < length; i++)
        line[i] = prefix[i];
    vsnprintf(line + length, sizeof line - length - 1, format, arguments);
    for (size_t step; line[length] != '\0'; length += step > 0 ? step : 1)
        if ((step = shown(line + length)) == 0)
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
