/* Samples into windows: the plain cases of receiver/fold/accumulate.py, compiled.

   A plain sample is of a known series and target, and falls into the newest window of each output
   that the series feeds. All others are handed back to Python, with the later records of the same
   series; so the rules stand in one place.

   The columns are those of receiver/fold/state.py. Indices are checked before they are used.
*/
#ifndef FOLD_H
#define FOLD_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE 20 /* series number (u32), time in ms (i64), value (double); packed, little-endian */
/* Value bits (a NaN) of a record that holds a start timestamp: that of the next record. */
#define START_BITS 0x7ff8535441525400u
enum { SCRAPES = 4 };
enum { KIND_LAST, KIND_AGGREGATE, KIND_DELTA, KIND_MEAN };
#define NEVER INT64_MIN
#define FORGOTTEN (INT64_MIN + 1)

typedef struct {
    int64_t *time;
    double *value;
    const int32_t *target, *link;
    int64_t *begun; /* the start timestamp of its last sample that had one */
    size_t series;
    const int64_t *first;
    size_t targets;
    const int32_t *output;
    const int8_t *part;
    const int32_t *next;
    size_t links;
    const int8_t *kind;
    const int64_t *start, *every;
    double *total, *count, *least, *most;
    int64_t *touched;
    const int32_t *scrapes;
    size_t outputs;
    int64_t *scrape_time;
    double *scrape_total, *scrape_count;
    size_t places;
} Columns;

typedef struct {
    size_t repeated, resets;
    uint8_t *rest;     /* records handed back; room for all of them */
    size_t rest_size;
    uint8_t *deferred; /* a bit for each series: its later records are handed back too */
} Folded;

/* Fold records of RECORD_SIZE, in their order. */
void fold_records(const uint8_t *records, size_t size, int64_t future_ms, int64_t now_ms,
                  Columns *columns, Folded *folded);

#endif
