/* text/scan.h - the well-known pre-tokeniser patterns as hand-made scanners.
 *
 * A scanner cuts well-formed UTF-8 text[pos..end) into the pieces that "split by this regular expression,
 * isolated" gives: the matches, and what lies between matches.  End is the end of the text for (?!\S).  Each
 * has the expression it stands for, and the tests hold it to PCRE2 with that expression.  Any thread.
 */
#ifndef SG_TEXT_SCAN_H
#define SG_TEXT_SCAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct sg_span {
    uint32_t start, end;
} sg_span;

/* Write up to `max` (at least 2) pieces from *pos on to out, advance *pos behind the last; returns how many (0 only at
 * the end). */
typedef size_t sg_scan_fn(const char *text, uint32_t *pos, uint32_t end, sg_span *out, size_t max);

typedef struct sg_scanner {
    const char *pattern; /* as it stands in tokenizer.json files */
    sg_scan_fn *scan;
} sg_scanner;

/* Ended by a NULL pattern.  Several patterns may share a scanner. */
extern const sg_scanner sg_scanners[];

/* The scanner of exactly this pattern, or NULL. */
sg_scan_fn *sg_scanner_find(const char *regex, size_t n);

#endif
