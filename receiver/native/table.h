/* The table of known series by their label bytes, bounded in bytes.

   Theory of operation. Open addressing with linear probing, half full at most, and a hash with a
   secret seed, so that a sender cannot choose colliding keys. A series is one block of memory: head,
   key, template. It counts its references, so that the table may evict it while requests still
   use it. At the limit the series that were not used since the last eviction are evicted.
*/
#ifndef RECEIVER_TABLE_H
#define RECEIVER_TABLE_H

#include "span.h"

typedef struct {
    uint32_t references, key_size, template_size;
    uint32_t fold_number; /* 0: not folded */
    uint16_t source;      /* the replica that sends it; 0: any sender */
    uint16_t lane;        /* of its lines; NO_LANE: its samples are only counted */
    uint16_t used;        /* looked up since the last eviction */
    uint8_t bytes[];      /* the key, then the template; without a template it is not rendered */
} Series;

typedef struct { uint64_t hash; Series *series; } Slot;

typedef struct {
    Slot *slots;
    size_t mask, entries, size_bytes, limit_bytes, misses;
    uint64_t seed[2];
} Table;

#define NO_LANE 0xffff
#define KEY_LIMIT 65536 /* bytes; series with a longer key are not kept */

/* Make a series with one reference, owned by the caller. NULL: no memory, or too large. */
Series *series_new(Span key, Span template_, uint32_t fold_number, uint16_t source, uint16_t lane);
void series_release(Series *series); /* may be NULL */

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
/* Find a series; the table keeps the reference. NULL: unknown. */
Series *table_find(const Table *table, Span key, uint64_t hash);
/* Add a series, unless its key is known or it would take half the limit. -1: no memory. */
int table_put(Table *table, Span key, Span template_, uint32_t fold_number, uint16_t source,
              uint16_t lane);

#endif
