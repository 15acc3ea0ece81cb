#include "recogniser.h"

#define KEY_V2_LIMIT 4096      /* of a key of 2.0: a few bytes of references can name megabytes */
#define ARENA_LIMIT (32u << 20) /* of all keys of a request */
#define AHEAD 8                /* items by which memory is prefetched */
#define SAMPLE_SIZE 18
#define ZERO_SIZE 9            /* of a sample with the value 0, which is left out */
#define START_SIZE 7           /* of a start timestamp, with its tag */

enum Verdict { NOT_ASKED, UNWANTED, PERHAPS };

Span item_text(const Item *item) { return (Span){item->at, item->at + item->size}; }

Span item_key(const Reading *reading, const Item *item)
{
    if (!item->key_size)
        return (Span){NULL, NULL};
    return span_of(reading->version == 2 ? reading->arena + item->key_at : item->at, item->key_size);
}

void reading_free(Reading *reading)
{
    for (size_t i = 0; i < reading->count; i++)
        series_release(reading->items[i].series);
    free(reading->items);
    free(reading->arena);
    free(reading->symbols);
    free(reading->verdicts);
    free(reading->samples);
    *reading = (Reading){0};
}

void item_set(Item *item, Series *series)
{
    item->kind = KNOWN;
    item->series = series;
}

int item_set_samples(Reading *reading, Item *item, Series *series, const Started *samples,
                     size_t count)
{
    if (grow((void **)&reading->samples, &reading->sample_room, reading->sample_count + count,
             sizeof(Started)))
        return -1;
    if (count)
        memcpy(reading->samples + reading->sample_count, samples, count * sizeof(Started));
    item->of.several.first = reading->sample_count;
    item->of.several.count = count;
    reading->sample_count += count;
    item->kind = SEVERAL;
    item->series = series;
    return 0;
}

/* Skip labels (1.0) or references (2.0) whose length has one byte. A loop of its own, for speed: each
   step depends on the length before it, and every unselected series takes it. */
static Span after_labels(Span fields)
{
    const uint8_t *at = fields.at;
    size_t size = left(fields), place = 0;
    while (place + 2 <= size && at[place] == 0x0a && at[place + 1] < 0x80)
        place += (size_t)at[place + 1] + 2;
    return span_of(at + (place < size ? place : size), place < size ? size - place : 0);
}

/* Count the samples and native histograms of a series, from any of its fields on, without reading
   them. Remote-write's tags have one byte, and nearly all lengths too. */
static size_t count_samples(Span fields, int version)
{
    fields = after_labels(fields);
    const uint64_t histogram_tag = version == 1 ? 0x22 : 0x1a;
    size_t count = 0;
    while (left(fields) >= 2) {
        uint64_t tag = fields.at[0], value;
        Span content;
        if ((tag & 0x87) == 2 && fields.at[1] < 0x80) {
            size_t size = (size_t)fields.at[1] + 2;
            if (size > left(fields))
                break;
            fields.at += size;
        } else if (!short_varint(&fields, &tag)) {
            break;
        } else if ((tag & 7) == 2) {
            if (!delimited(&fields, &content))
                break;
        } else if ((tag & 7) == 0) {
            if (!varint(&fields, &value))
                break;
        } else {
            size_t size = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : (tag & 7) > 5 ? left(fields) + 1 : 0;
            if (size > left(fields))
                break;
            fields.at += size;
        }
        count += tag == 0x12 || tag == histogram_tag;
    }
    return count;
}

size_t item_drop(Reading *reading, Item *item)
{
    size_t count = count_samples(item_text(item), reading->version);
    item->kind = GONE;
    reading->unselected++;
    reading->unselected_samples += count;
    return count;
}

/* ---- one series ---- */

static enum Verdict verdict_on(const Table *unwanted, Span name)
{
    return left(name) && table_find(unwanted, name, table_hash(unwanted, name)) ? UNWANTED : PERHAPS;
}

/* Read a time: a varint of 6 bytes. 0: any other varint. */
static int time_at_6(const uint8_t *at, int64_t *time_ms)
{
    uint64_t read = 0;
    for (size_t i = 0; i < 6; i++) {
        if ((at[i] >= 0x80) != (i < 5))
            return 0;
        read |= (uint64_t)(at[i] & 0x7f) << (7 * i);
    }
    *time_ms = (int64_t)read;
    return 1;
}

/* Read the sample at the start of `tail`, up to its start timestamp if it has one. Returns the size
   of what was read; 0 for any other shape. */
static size_t sample_at(Span tail, int has_start, Sample *sample)
{
    const uint8_t *at = tail.at;
    size_t size = left(tail), time_at, more = has_start ? START_SIZE : 0;
    if (size >= SAMPLE_SIZE && at[0] == 0x12 && at[1] == 0x10 + more && at[2] == 0x09 && at[11] == 0x10) {
        memcpy(&sample->value, at + 3, 8);
        time_at = 12;
    } else if (size >= ZERO_SIZE && at[0] == 0x12 && at[1] == 0x07 + more && at[2] == 0x10) {
        sample->value = 0.0;
        time_at = 3;
    } else {
        return 0;
    }
    return time_at_6(at + time_at, &sample->time_ms) ? time_at + 6 : 0;
}

/* Return the name of a series of 1.0: 0a LL 0a 08 "__name__" 12 NN name, lengths below 80, LL = NN + 12. */
static Span name_v1(Span series)
{
    static const uint8_t before[] = "\x0a\x08__name__\x12";
    const uint8_t *at = series.at;
    size_t size = left(series);
    if (size < 14 || at[0] != 0x0a || at[1] >= 0x80 || memcmp(at + 2, before, 11) ||
        at[13] >= 0x80 || at[1] != at[13] + 12 || size < (size_t)at[1] + 2)
        return (Span){NULL, NULL};
    return (Span){at + 14, at + 14 + at[13]};
}

/* Read a series of 1.0 from its end: its one sample, and the bytes before it as the key. If the end
   could be either kind of sample, at most one of the two keys consists of labels only. */
static void key_v1(Item *item)
{
    const uint8_t *end = item->at + item->size;
    Sample *sample = &item->of.one.sample;
    size_t shape = 0;
    if (item->size > SAMPLE_SIZE && sample_at((Span){end - SAMPLE_SIZE, end}, 0, sample) == SAMPLE_SIZE)
        shape = SAMPLE_SIZE;
    else if (item->size > ZERO_SIZE)
        shape = sample_at((Span){end - ZERO_SIZE, end}, 0, sample);
    if (shape && item->size - shape <= KEY_LIMIT)
        item->key_size = item->labels_size = item->size - (uint32_t)shape;
}

static Item *add_item(Reading *reading, Span series)
{
    if (grow((void **)&reading->items, &reading->room, reading->count + 1, sizeof(Item)))
        return NULL;
    Item *item = &reading->items[reading->count++];
    *item = (Item){.at = series.at, .size = (uint32_t)left(series)};
    return item;
}

static int take_v1(Reading *reading, const Table *unwanted, Span series)
{
    Span name = name_v1(series);
    if (verdict_on(unwanted, name) == UNWANTED) {
        reading->unselected++;
        reading->unselected_samples += count_samples((Span){name.end, series.end}, 1);
        return 0;
    }
    Item *item = add_item(reading, series);
    if (!item)
        return -1;
    if (left(name))
        key_v1(item);
    return 0;
}

/* ---- remote-write 2.0 ---- */

/* Read the section `0a LL nn …` at the start of a series of 2.0, LL below 80. */
static int references_of(Span series, Span *references)
{
    if (left(series) < 2 || series.at[0] != 0x0a || series.at[1] >= 0x80)
        return 0;
    series.at++;
    return delimited(&series, references);
}

/* Return the symbol of the name, which is the first label; -1 for any other order. */
static int64_t name_number(const Reading *reading, Span references)
{
    uint64_t label, text;
    if (!varint(&references, &label) || !varint(&references, &text) ||
        label >= reading->symbol_count || text >= reading->symbol_count ||
        left(reading->symbols[label]) != 8 || memcmp(reading->symbols[label].at, "__name__", 8) ||
        left(reading->symbols[text]) > KEY_V2_LIMIT) /* longer than any key */
        return -1;
    return (int64_t)text;
}

Span item_name(const Reading *reading, const Item *item)
{
    if (reading->version == 1)
        return name_v1(item_text(item));
    Span references;
    int64_t number = references_of(item_text(item), &references) ? name_number(reading, references) : -1;
    return number < 0 ? (Span){NULL, NULL} : reading->symbols[number];
}

size_t put_text(Span text, uint8_t *to)
{
    uint32_t size = (uint32_t)left(text);
    if (to) {
        memcpy(to, &size, 4);
        if (size)
            memcpy(to + 4, text.at, size);
    }
    return size + 4;
}

/* Write the key into the arena; with wrong or too long references the item has no key. */
static int put_key(Reading *reading, Item *item, Span references)
{
    size_t start = reading->arena_size, count = 0;
    for (; references.at < references.end; count++) {
        uint64_t number;
        if (!varint(&references, &number) || number >= reading->symbol_count)
            goto unusual;
        Span text = reading->symbols[number];
        if (left(text) > KEY_V2_LIMIT ||
            reading->arena_size - start + put_text(text, NULL) > KEY_V2_LIMIT ||
            reading->arena_size + put_text(text, NULL) > ARENA_LIMIT)
            goto unusual;
        if (grow((void **)&reading->arena, &reading->arena_room,
                 reading->arena_size + put_text(text, NULL), 1))
            return -1;
        reading->arena_size += put_text(text, reading->arena + reading->arena_size);
    }
    if (count % 2 || !count)
        goto unusual;
    item->key_at = start;
    item->key_size = (uint32_t)(reading->arena_size - start);
    return 0;
unusual:
    reading->arena_size = start;
    return 0;
}

/* Read the end of a series of 2.0, after its sample: empty metadata, the start timestamp of 2.0-rc.3,
   both, or nothing. Returns whether it is one of these. */
static int ending_v2(Span rest, int64_t *start_ms)
{
    if (left(rest) >= 2 && rest.at[0] == 0x2a && !rest.at[1])
        rest.at += 2;
    if (left(rest) == START_SIZE && rest.at[0] == 0x30 && time_at_6(rest.at + 1, start_ms))
        return 1;
    return !left(rest);
}

/* Read the one sample of a series of 2.0, and its end. Returns whether their shape is usual. */
static int tail_v2(Span tail, Sample *sample, int64_t *start_ms)
{
    int64_t its_start_ms = 0;
    *start_ms = 0;
    size_t size = sample_at(tail, 0, sample);
    if (!size && (size = sample_at(tail, 1, sample))) {
        if (left(tail) < size + START_SIZE || tail.at[size] != 0x18 ||
            !time_at_6(tail.at + size + 1, &its_start_ms))
            return 0;
        size += START_SIZE;
    }
    tail.at += size;
    if (!size || !ending_v2(tail, start_ms))
        return 0;
    if (its_start_ms)
        *start_ms = its_start_ms;
    return 1;
}

int64_t item_start(const Item *item)
{
    Sample sample;
    int64_t start_ms = 0;
    if (item->is_started)
        tail_v2((Span){item->at + item->labels_size, item->at + item->size}, &sample, &start_ms);
    return start_ms;
}

static int take_v2(Reading *reading, const Table *unwanted, Span series)
{
    Span references, rest = series;
    Sample sample = {0};
    int64_t start_ms = 0;
    int is_usual = 0;
    enum Verdict verdict = PERHAPS;
    if (references_of(series, &references)) {
        rest.at = references.end;
        is_usual = tail_v2(rest, &sample, &start_ms);
        int64_t number = name_number(reading, references);
        if (number >= 0) {
            if (!reading->verdicts[number])
                reading->verdicts[number] = (uint8_t)verdict_on(unwanted, reading->symbols[number]);
            verdict = reading->verdicts[number];
        }
    }
    if (verdict == UNWANTED && is_usual) { /* one sample; those of an unusual series are counted later */
        reading->unselected++;
        reading->unselected_samples++;
        return 0;
    }
    Item *item = add_item(reading, series);
    if (!item)
        return -1;
    if (verdict == UNWANTED || !is_usual)
        return 0;
    item->labels_size = (uint32_t)(references.end - series.at);
    item->of.one.sample = sample;
    item->is_started = start_ms > 0;
    return put_key(reading, item, references);
}

/* ---- a whole request ---- */

/* Look up all keys. Slots (first loop) and series (second loop) are prefetched some items ahead, to
   hide the latency of memory. */
static void look_up(Reading *reading, const Table *table)
{
    Item *items = reading->items;
    for (size_t i = 0; i < reading->count; i++) {
        if (!items[i].key_size)
            continue;
        items[i].of.one.hash = table_hash(table, item_key(reading, &items[i]));
        __builtin_prefetch(&table->slots[items[i].of.one.hash & table->mask]);
    }
    for (size_t i = 0; i < reading->count + AHEAD; i++) {
        if (i < reading->count && items[i].key_size) {
            const Series *soon = table->slots[items[i].of.one.hash & table->mask].series;
            if (soon) {
                __builtin_prefetch(soon);
                __builtin_prefetch((const char *)soon + 64);
                __builtin_prefetch((const char *)soon + 128);
            }
        }
        if (i < AHEAD || !items[i - AHEAD].key_size)
            continue;
        Item *item = &items[i - AHEAD];
        Series *series = table_find(table, item_key(reading, item), item->of.one.hash);
        if (!series)
            continue;
        item_set(item, series_retain(series));
        reading->known++;
        reading->known_template_bytes += series->template_size;
        reading->known_rendered += series->template_size != 0;
    }
}

/* Skip a field that is not needed. 0: none is left. */
static int skip_field(Span *s, uint64_t tag)
{
    uint64_t skipped;
    Span content;
    size_t size = (tag & 7) == 1 ? 8 : 4;
    switch (tag & 7) {
    case 0:
        return varint(s, &skipped);
    case 1:
    case 5:
        if (left(*s) < size)
            return 0;
        s->at += size;
        return 1;
    case 2:
        return delimited(s, &content);
    default:
        return 0;
    }
}

/* Collect the symbols of 2.0: they may come after the series that refer to them. */
static int take_symbols(Reading *reading, Span s, size_t most)
{
    Span content;
    while (s.at < s.end) {
        uint64_t tag;
        if (!short_varint(&s, &tag))
            return 0;
        if (tag != 0x22) {
            if (!skip_field(&s, tag))
                return 0;
            continue;
        }
        if (!delimited(&s, &content) || reading->symbol_count == most)
            return 0;
        if (grow((void **)&reading->symbols, &reading->symbol_room, reading->symbol_count + 1,
                 sizeof(Span)))
            return -1;
        reading->symbols[reading->symbol_count++] = content;
    }
    reading->verdicts = calloc(reading->symbol_count + 1, 1);
    return reading->verdicts ? 1 : -1;
}

/* Read all series. 0: the request is unusual: it has none or too many, metadata of 1.0, or a field
   of a wrong type. */
static int take_series(Reading *reading, Span s, const Table *unwanted, size_t most)
{
    Span content;
    uint64_t series_tag = reading->version == 1 ? 0x0a : 0x2a;
    while (s.at < s.end) {
        uint64_t tag;
        if (!short_varint(&s, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
            return 0;
        if (tag == series_tag) {
            if (!delimited(&s, &content) || reading->series++ == most)
                return 0;
            if ((reading->version == 1 ? take_v1 : take_v2)(reading, unwanted, content))
                return -1;
            continue;
        }
        uint64_t number = tag >> 3;
        int ours = reading->version == 1 ? number == 1 || number == 3 : number == 4 || number == 5;
        if ((ours && !(reading->version == 2 && tag == 0x22)) || !skip_field(&s, tag))
            return 0;
    }
    return reading->series > 0;
}

int recognise(Reading *reading, Span raw, int version, const Table *unwanted, const Table *series,
              size_t most)
{
    *reading = (Reading){.version = version};
    if ((version != 1 && version != 2) || left(raw) > UINT32_MAX || most > UINT32_MAX)
        return 0;
    int taken = version == 1 ? 1 : take_symbols(reading, raw, 24 * most + 1024);
    if (taken == 1)
        taken = take_series(reading, raw, unwanted, most);
    if (taken == 1)
        look_up(reading, series);
    return taken;
}
