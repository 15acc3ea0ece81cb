/* The recogniser: finds known series in a decompressed request by their bytes, without parsing them.

   In: a request of remote-write 1.0 or 2.0, the unselected names, and the known series. Out: a
   Reading, with an Item for each series, except those of unselected names. An item is KNOWN, with
   its series and its one sample, or UNRECOGNISED: then the caller parses it and supplies the series.
   No request is refused here: series of an unusual shape are unrecognised, or the whole request is
   (`recognise` returns 0).

   Remote-write 1.0, a series with one sample; in hexadecimal, LL and NN lengths below 80:

       0a LL 0a 08 "__name__" 12 NN name   0a …   12 10 09 dddddddddddddddd 10 tttttttttttt
       \__ the first label, the name ___/  more \  \_ sample of 16 bytes     \_ time: a varint
       \________ the label section, the key ____/    \_ its value, 8 bytes      of 6 bytes is
                                                                                1971 to 2109
   or, for the value 0, which is left out:        12 07 10 tttttttttttt

   Remote-write 2.0, where labels are references to the request's symbols; the key is the symbols'
   texts, each after its size (4 bytes), since references differ from request to request:

       0a LL nn …      12 10 09 dddddddddddddddd 10 tttttttttttt 2a 00
       \_ references   \_ the sample, as above                   \_ empty metadata, or nothing

   A sample may have a start timestamp after its time (18, a varint of 6 bytes; its size is then
   17 or 0e), and a series that of 2.0-rc.3 at its end (30, the same).

   Why it is sound. Concatenated messages parse as one merged message. A key enters the table only
   after the full parser has read the label section as a whole message of labels and nothing else.
   The key is followed by exactly one sample and nothing else, so the series has no other
   interpretation. Of a series with an unselected name only the samples are counted.
*/
#ifndef RECEIVER_RECOGNISER_H
#define RECEIVER_RECOGNISER_H

#include "table.h"

typedef struct { int64_t time_ms; double value; } Sample;
typedef struct { Sample sample; int64_t start_ms; } Started; /* a start of 0 or less is none */

enum Kind { UNRECOGNISED, KNOWN, SEVERAL, GONE };

typedef struct {
    const uint8_t *at;         /* the series' bytes in the request */
    uint32_t size, labels_size; /* labels_size: that of the label section, which comes first */
    size_t key_at;             /* the key's place in the arena (2.0) */
    uint32_t key_size;         /* 0: the shape is not the usual one */
    uint16_t kind;
    uint16_t is_started;       /* its one sample has a start timestamp: `item_start` */
    Series *series;            /* a reference, where it is KNOWN or SEVERAL */
    union {
        struct { uint64_t hash; Sample sample; } one;
        struct { size_t first, count; } several; /* in the reading's `samples` */
    } of;
} Item;

typedef struct {
    int version;               /* 1 or 2: of remote-write */
    Item *items;
    size_t count, room;        /* of items */
    size_t series, unselected; /* of all series */
    size_t unselected_samples; /* as their sender counts them, native histograms among them */
    size_t known, known_rendered, known_template_bytes;
    uint8_t *arena;            /* keys of 2.0 */
    size_t arena_size, arena_room;
    Span *symbols;
    uint8_t *verdicts;         /* by symbol: 0 before its look-up as a name */
    size_t symbol_count, symbol_room;
    Started *samples;          /* of series with no or several samples, or of unusual shape */
    size_t sample_count, sample_room;
} Reading;

/* Open a request of at most `most` series. 1: done; 0: unusual as a whole; -1: no memory.
   The request's bytes must outlive the reading; call `reading_free` in every case. */
int recognise(Reading *reading, Span raw, int version, const Table *unwanted, const Table *series,
              size_t most);
void reading_free(Reading *reading);

int64_t item_start(const Item *item); /* the start of a KNOWN item's sample; 0: none */
Span item_text(const Item *item);
Span item_key(const Reading *reading, const Item *item);
Span item_name(const Reading *reading, const Item *item); /* empty: not in the usual place */

/* Set the series of an unrecognised item, which takes over the reference: with the item's one sample
   (usual shape), or with the `count` given ones. -1: no memory; the item is unchanged. */
void item_set(Item *item, Series *series);
int item_set_samples(Reading *reading, Item *item, Series *series, const Started *samples,
                     size_t count);
size_t item_drop(Reading *reading, Item *item); /* its name is not selected; returns its samples */

/* Append a text to a key: its size, then its bytes. Returns the total; writes if `to` is not NULL. */
size_t put_text(Span text, uint8_t *to);

#endif
