/* Rendering of rows (a series, a time, a value) as lines, and as records for the fold.

   In: a Reading without unrecognised items. Out: its Rows: the rendered samples, lane by lane, each
   in the order sent, and the packed records (fold.h) of folded samples; values that are not finite
   are only listed. The caller formats times and values: a line is head, template, value, end, with
   one head for each moment (a time of a lane). A series may be rendered, folded, or both; samples
   of an NO_LANE series are only counted.

   If several replicas send the same series, the caller gives a floor for each source: samples up to
   that time have no row, and are counted as dropped.
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
    uint32_t text_at; /* start of the value's text, after rows_layout */
} Row;

typedef struct {
    int64_t floor_ms;     /* samples up to this time do not count */
    int64_t newest_ms;    /* of the kept samples that are finite; INT64_MIN: none */
    size_t kept, dropped; /* samples above the floor, and up to it */
} Account;

typedef struct {
    Row *rows;
    size_t count, room;
    Moment *moments; /* distinct, in order of appearance */
    size_t moment_count, moment_room;
    uint32_t lanes; /* above the highest lane of a row */
    uint32_t *slots; /* of moments, by hash: number + 1; while rows are collected */
    size_t slot_mask;
    uint64_t seed[2];
    uint8_t *folded;
    size_t folded_size, folded_room;
    size_t folded_alone; /* samples that are folded and not rendered */
    int64_t folded_newest_ms; /* the newest time of a folded sample; 0: none */
    size_t unrouted;     /* samples of NO_LANE series */
    double *not_finite;
    size_t not_finite_count, not_finite_room;
    Account *accounts; /* by source; NULL: all samples count */
    size_t sources;
    uint64_t *line_ends; /* of each line, after rows_layout */
    size_t texts_size;
} Rows;

/* Collect the rows of all items. `floors` has one time for each source; NULL: all samples count.
   -1: no memory; -2: a series has a source without a floor. Call `rows_free` in every case. */
int rows_collect(Rows *rows, const Reading *reading, const uint64_t seed[2], const int64_t *floors,
                 size_t sources);
void rows_free(Rows *rows);

/* Measure all lines: `heads` has one entry for each moment, `texts` are the values' texts, separated by
   commas, `end` is the end of each line. -1: no memory; -2: `texts` does not match the values. */
int rows_layout(Rows *rows, const Span *heads, Span texts, Span end);
/* Write the lines from `first` up to `stop`, after rows_layout with the same texts. */
size_t rows_size(const Rows *rows, size_t first, size_t stop);
void rows_write(const Rows *rows, const Span *heads, Span texts, Span end, size_t first,
                size_t stop, uint8_t *to);

#endif
