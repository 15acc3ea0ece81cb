/* Rows (a series, a time, a value) become lines, and records for the fold.

   In: a Reading whose items all have their place. Out: its Rows: what is rendered, lane by lane,
   each in the order sent, and the packed records (fold.h) of what is folded; values that are not
   finite are neither, and listed. The texts of times and values are the caller's: a line is head,
   template, value, end, and there is a head for each moment: a time of a lane. A series may be
   rendered, folded, or both; samples of one that is UNROUTED are counted.

   Where several senders bring the same series, the caller says for each source up to which time
   its samples do not count: those have no row, and are counted.
*/
#ifndef RECEIVER_RENDERER_H
#define RECEIVER_RENDERER_H

#include "fold.h"
#include "recogniser.h"

typedef struct { int64_t time_ms; uint32_t lane; } Moment;

typedef struct {
    Series *series; /* a reference */
    double value;
    uint32_t moment;  /* number of its time and lane in `moments` */
    uint32_t text_at; /* where the value's text begins, after rows_layout */
} Row;

typedef struct {
    int64_t floor_ms;     /* samples up to this time do not count */
    int64_t newest_ms;    /* of the samples that count and are finite; INT64_MIN: none */
    size_t kept, dropped; /* samples that count, and that do not */
} Account;

typedef struct {
    Row *rows;
    size_t count, room;
    Moment *moments; /* distinct, in the order in which they came */
    size_t moment_count, moment_room;
    uint32_t lanes; /* above the highest lane of a row */
    uint32_t *slots; /* of moments, by hash: number + 1; while rows are collected */
    size_t slot_mask;
    uint64_t seed[2];
    uint8_t *folded;
    size_t folded_size, folded_room;
    size_t folded_alone; /* samples that are folded and not rendered */
    size_t unrouted;     /* samples of series that have no end */
    double *not_finite;
    size_t not_finite_count, not_finite_room;
    Account *accounts; /* by source; NULL: all samples count */
    size_t sources;
    uint64_t *ends; /* of each line, after rows_layout */
    size_t texts_size;
} Rows;

/* Collect the rows of all items. `floors` has one time for each source; NULL: all samples count.
   -1: no memory; -2: a series has a source without a floor. `rows_free` it in every case. */
int rows_collect(Rows *rows, const Reading *reading, const uint64_t seed[2], const int64_t *floors,
                 size_t sources);
void rows_free(Rows *rows);

/* Measure all lines: `heads` are as many as `moments`, `texts` the values' texts with a comma between
   two, `end` what each line ends with. -1: no memory; -2: these are not the texts of the values. */
int rows_layout(Rows *rows, const Span *heads, Span texts, Span end);
/* Write the lines from `first` up to `stop`, after rows_layout with the same texts. */
size_t rows_size(const Rows *rows, size_t first, size_t stop);
void rows_write(const Rows *rows, const Span *heads, Span texts, Span end, size_t first,
                size_t stop, uint8_t *to);

#endif
