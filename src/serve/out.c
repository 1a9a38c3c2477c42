/* serve/out.c - JSON text, written straight into a buffer.
 *
 * Answers are never built as trees: a token's chunk is a few hundred bytes that are mostly constant.  Text of a model
 * is valid UTF-8 already; token bytes need not be, and what is not becomes U+FFFD here.
 */
#include "serve/out.h"

#include "base/utf8.h"

#include <math.h>
#include <string.h>

static void escaped(sg_buf *b, unsigned char c)
{
    const char *at = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
    if (at && (c < ' ' || c == '"' || c == '\\')) {
        sg_buf_addc(b, '\\');
        sg_buf_addc(b, at[1]);
    } else
        sg_buf_addf(b, "\\u%04x", c);
}

void sg_out_string(sg_buf *b, const char *s, size_t n)
{
    sg_buf_addc(b, '"');
    for (size_t i = 0; i < n;) {
        size_t k = i;
        while (k < n && (unsigned char)s[k] >= ' ' && (unsigned char)s[k] < 127 && s[k] != '"' && s[k] != '\\')
            k++;
        sg_buf_add(b, s + i, k - i);
        i = k;
        if (i == n)
            break;
        if ((unsigned char)s[i] <= 127) {
            escaped(b, (unsigned char)s[i++]);
            continue;
        }
        uint32_t cp;
        size_t len = sg_utf8_decode(s + i, n - i, &cp);
        if (len)
            sg_buf_add(b, s + i, len);
        else
            sg_buf_adds(b, "\xef\xbf\xbd");
        i += len ? len : 1;
    }
    sg_buf_addc(b, '"');
}

void sg_out_number(sg_buf *b, double x)
{
    if (isfinite(x))
        sg_buf_addf(b, "%.9g", x);
    else
        sg_buf_adds(b, "-9999.0");
}

void sg_out_bytes(sg_buf *b, const char *s, size_t n)
{
    sg_buf_addc(b, '[');
    for (size_t i = 0; i < n; i++)
        sg_buf_addf(b, "%s%u", i ? "," : "", (unsigned char)s[i]);
    sg_buf_addc(b, ']');
}
