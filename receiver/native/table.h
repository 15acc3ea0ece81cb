/* What is known of series, by bytes: a table that is bounded in bytes.

   Theory of operation. Open addressing with linear probing, half full at most, and a hash with a
   secret seed, so that nobody can choose keys that collide. A series is one piece of memory: its
   head, its key, its template. It counts its references, so that the table may forget it while
   requests still hold it. When there is no room, what was not asked for since the last time goes.
*/
#ifndef RECEIVER_TABLE_H
#define RECEIVER_TABLE_H

#include "span.h"

typedef struct {
    uint32_t references, key_size, template_size;
    uint32_t fold_number; /* 0: not folded */
    uint16_t source;      /* which sender's it is, where that matters; 0: anybody's */
    uint16_t lane;        /* of its lines; UNROUTED: its samples have no end, and are counted */
    uint16_t used;        /* asked for since room was made last */
    uint8_t bytes[];      /* the key, then the template; without template it is not rendered */
} Series;

typedef struct { uint64_t hash; Series *series; } Slot;

typedef struct {
    Slot *slots;
    size_t mask, entries, size_bytes, limit_bytes, misses;
    uint64_t seed[2];
} Table;

#define UNROUTED 0xffff
#define KEY_LIMIT 65536 /* bytes; what has a longer key is not kept */

/* Make a series with one reference, which is the caller's. NULL: no memory, or too large. */
Series *series_new(Span key, Span template_, uint32_t fold_number, uint16_t source, uint16_t lane);
void series_release(Series *series); /* NULL is fine */

static inline Series *series_retain(Series *series)
{
    series->references++;
    return series;
}

static inline Span template_of(const Series *series)
{
    return span_of(series->bytes + series->key_size, series->template_size);
}

int table_init(Table *table, size_t limit_bytes, const uint64_t seed[2]); /* -1: no memory */
void table_free(Table *table);
void table_clear(Table *table);
uint64_t table_hash(const Table *table, Span key);
/* Find a series; the reference is the table's. NULL: not known. */
Series *table_find(const Table *table, Span key, uint64_t hash);
/* Keep a series, unless the key is known or it would take half the room. -1: no memory. */
int table_put(Table *table, Span key, Span template_, uint32_t fold_number, uint16_t source,
              uint16_t lane);

#endif
