#include "table.h"

#define LOAD_OF(slots) ((slots) / 2) /* half full at most: most probes read one slot */
#define OVERHEAD (sizeof(Series) + 76) /* with malloc's own, and two slots */
#define FIRST_SLOTS 256

Series *series_new(Span key, Span template_, uint32_t fold_number, uint16_t source, uint16_t lane)
{
    size_t key_size = left(key), template_size = left(template_);
    if (key_size > UINT32_MAX || template_size > UINT32_MAX)
        return NULL;
    Series *series = malloc(sizeof(Series) + key_size + template_size);
    if (!series)
        return NULL;
    *series = (Series){.references = 1, .key_size = (uint32_t)key_size,
                       .template_size = (uint32_t)template_size, .fold_number = fold_number,
                       .source = source, .lane = lane};
    if (key_size)
        memcpy(series->bytes, key.at, key_size);
    if (template_size)
        memcpy(series->bytes + key_size, template_.at, template_size);
    return series;
}

void series_release(Series *series)
{
    if (series && --series->references == 0)
        free(series);
}

static size_t cost_of(size_t key_size, size_t template_size)
{
    return key_size + template_size + OVERHEAD;
}

/* ---- the hash: 16 bytes in each step, multiplied to 128 bits and folded ---- */

static inline uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

uint64_t table_hash(const Table *table, Span key)
{
    const uint64_t *seed = table->seed;
    size_t size = left(key);
    const uint8_t *at = key.at;
    uint64_t hash = seed[0] ^ size;
    uint8_t tail[16] = {0};
    for (; size > 16; at += 16, size -= 16)
        hash = mix(load64(at) ^ seed[1], load64(at + 8) ^ hash);
    if (size)
        memcpy(tail, at, size);
    hash = mix(load64(tail) ^ seed[1], load64(tail + 8) ^ hash);
    return mix(hash ^ seed[0], seed[1] ^ 0x9e3779b97f4a7c15u);
}

/* ---- the table ---- */

int table_init(Table *table, size_t limit_bytes, const uint64_t seed[2])
{
    *table = (Table){.limit_bytes = limit_bytes, .mask = FIRST_SLOTS - 1,
                     .seed = {seed[0] | 1, seed[1] | 1}};
    table->slots = calloc(FIRST_SLOTS, sizeof(Slot));
    return table->slots ? 0 : -1;
}

void table_clear(Table *table)
{
    for (size_t i = 0; i <= table->mask; i++)
        series_release(table->slots[i].series);
    memset(table->slots, 0, (table->mask + 1) * sizeof(Slot));
    table->entries = table->size_bytes = 0;
}

void table_free(Table *table)
{
    if (table->slots)
        table_clear(table);
    free(table->slots);
    table->slots = NULL;
}

Series *table_find(const Table *table, Span key, uint64_t hash)
{
    size_t size = left(key);
    for (size_t place = hash & table->mask;; place = (place + 1) & table->mask) {
        const Slot *slot = &table->slots[place];
        if (!slot->series)
            return NULL;
        if (slot->hash == hash && slot->series->key_size == size &&
            (!size || !memcmp(slot->series->bytes, key.at, size))) {
            slot->series->used = 1;
            return slot->series;
        }
    }
}

static void place_in(Table *table, Slot added)
{
    size_t place = added.hash & table->mask;
    while (table->slots[place].series)
        place = (place + 1) & table->mask;
    table->slots[place] = added;
}

/* Move to new slots; with `evict`, without the series that were not used since the last eviction. */
static int rebuild(Table *table, size_t slots, int evict)
{
    Slot *before = table->slots, *made = calloc(slots, sizeof(Slot));
    if (!made)
        return -1;
    size_t before_slots = table->mask + 1;
    table->slots = made;
    table->mask = slots - 1;
    for (size_t i = 0; i < before_slots; i++) {
        Series *series = before[i].series;
        if (!series)
            continue;
        if (evict && !series->used) {
            table->entries--;
            table->size_bytes -= cost_of(series->key_size, series->template_size);
            series_release(series);
            continue;
        }
        if (evict)
            series->used = 0;
        place_in(table, before[i]);
    }
    free(before);
    return 0;
}

/* Evict the series that were not used since the last eviction (new ones count as unused). If that
   frees less than a sixteenth, evict all: a sweep visits the whole table, so it must free a share
   of it to stay amortised O(1). */
static int make_room(Table *table, size_t cost)
{
    if (table->size_bytes + cost > table->limit_bytes) {
        if (rebuild(table, table->mask + 1, 1))
            return -1;
        if (table->size_bytes + cost > table->limit_bytes / 16 * 15)
            table_clear(table);
    }
    if (table->entries >= LOAD_OF(table->mask + 1))
        return rebuild(table, (table->mask + 1) * 2, 0);
    return 0;
}

int table_put(Table *table, Span key, Span template_, uint32_t fold_number, uint16_t source,
              uint16_t lane)
{
    size_t cost = cost_of(left(key), left(template_));
    uint64_t hash = table_hash(table, key);
    table->misses++;
    if (left(key) > KEY_LIMIT || left(template_) > UINT32_MAX || cost > table->limit_bytes / 2 ||
        table_find(table, key, hash))
        return 0;
    Series *series = series_new(key, template_, fold_number, source, lane);
    if (!series || make_room(table, cost)) {
        series_release(series);
        return -1;
    }
    place_in(table, (Slot){hash, series});
    table->entries++;
    table->size_bytes += cost;
    return 0;
}
