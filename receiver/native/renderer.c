#include "renderer.h"
#include <math.h>

#define AHEAD 8            /* lines by which templates are prefetched */
#define TEMPLATE_LINES 10  /* prefetched cache lines of 64 bytes: most templates whole */

void rows_free(Rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        series_release(rows->rows[i].series);
    free(rows->rows);
    free(rows->moments);
    free(rows->slots);
    free(rows->folded);
    free(rows->not_finite);
    free(rows->accounts);
    free(rows->line_ends);
    *rows = (Rows){0};
}

/* ---- collecting ---- */

static size_t slot_of(const Rows *rows, Moment moment)
{
    uint64_t time = (uint64_t)moment.time_ms ^ ((uint64_t)moment.lane << 48);
    return (size_t)mix(time ^ rows->seed[0], rows->seed[1]) & rows->slot_mask;
}

static inline int is_same(Moment a, Moment b) { return a.time_ms == b.time_ms && a.lane == b.lane; }

/* Replace the slots, with room for twice as many moments. */
static int more_slots(Rows *rows)
{
    size_t slots = rows->slot_mask ? (rows->slot_mask + 1) * 2 : 64;
    free(rows->slots);
    rows->slots = calloc(slots, sizeof *rows->slots);
    rows->slot_mask = rows->slots ? slots - 1 : 0;
    if (!rows->slots)
        return -1;
    for (size_t i = 0; i < rows->moment_count; i++) {
        size_t place = slot_of(rows, rows->moments[i]);
        while (rows->slots[place])
            place = (place + 1) & rows->slot_mask;
        rows->slots[place] = (uint32_t)i + 1;
    }
    return 0;
}

/* Return the number of a moment, mostly that of the previous row. -1: no memory. */
static int64_t number_of(Rows *rows, Moment moment)
{
    if (rows->count && is_same(rows->moments[rows->rows[rows->count - 1].moment], moment))
        return rows->rows[rows->count - 1].moment;
    if (rows->moment_count * 2 >= rows->slot_mask && more_slots(rows))
        return -1;
    size_t place = slot_of(rows, moment);
    for (; rows->slots[place]; place = (place + 1) & rows->slot_mask)
        if (is_same(rows->moments[rows->slots[place] - 1], moment))
            return rows->slots[place] - 1;
    if (rows->moment_count == UINT32_MAX - 1 ||
        grow((void **)&rows->moments, &rows->moment_room, rows->moment_count + 1, sizeof(Moment)))
        return -1;
    rows->moments[rows->moment_count++] = moment;
    rows->slots[place] = (uint32_t)rows->moment_count;
    return (int64_t)rows->moment_count - 1;
}

/* Whether a sample is above its source's floor; updates the account. */
static int is_kept(Rows *rows, const Series *series, Sample sample)
{
    Account *account = &rows->accounts[series->source];
    if (sample.time_ms <= account->floor_ms) {
        account->dropped++;
        return 0;
    }
    account->kept++;
    if (sample.time_ms > account->newest_ms && isfinite(sample.value))
        account->newest_ms = sample.time_ms;
    return 1;
}

static void put_record(Rows *rows, uint32_t number, int64_t time_ms, const void *value)
{
    uint8_t *record = rows->folded + rows->folded_size;
    memcpy(record, &number, 4);
    memcpy(record + 4, &time_ms, 8);
    memcpy(record + 12, value, 8);
    rows->folded_size += RECORD_SIZE;
}

static int add(Rows *rows, Series *series, Sample sample, int64_t start_ms)
{
    if (rows->accounts) {
        if (series->source >= rows->sources)
            return -2;
        if (!is_kept(rows, series, sample))
            return 0;
    }
    if (!isfinite(sample.value)) {
        if (grow((void **)&rows->not_finite, &rows->not_finite_room, rows->not_finite_count + 1,
                 sizeof(double)))
            return -1;
        rows->not_finite[rows->not_finite_count++] = sample.value;
        return 0;
    }
    if (series->fold_number) {
        static const uint64_t start_bits = START_BITS;
        if (grow((void **)&rows->folded, &rows->folded_room, rows->folded_size + 2 * RECORD_SIZE, 1))
            return -1;
        if (!rows->folded_size || sample.time_ms > rows->folded_newest_ms)
            rows->folded_newest_ms = sample.time_ms;
        if (start_ms > 0)
            put_record(rows, series->fold_number, start_ms, &start_bits);
        put_record(rows, series->fold_number, sample.time_ms, &sample.value);
        rows->folded_alone += !series->template_size;
    }
    if (!series->template_size) {
        rows->unrouted += series->lane == NO_LANE;
        return 0;
    }
    int64_t moment = number_of(rows, (Moment){sample.time_ms, series->lane});
    if (moment < 0 || grow((void **)&rows->rows, &rows->room, rows->count + 1, sizeof(Row)))
        return -1;
    rows->rows[rows->count++] = (Row){series_retain(series), sample.value, (uint32_t)moment, 0};
    if (series->lane >= rows->lanes)
        rows->lanes = (uint32_t)series->lane + 1;
    return 0;
}

/* Sort the rows by lane, each lane in the order sent: a counting sort. */
static int sort_lanes(Rows *rows)
{
    Row *sorted = malloc(rows->count * sizeof(Row));
    size_t *starts = calloc(rows->lanes + 1, sizeof *starts);
    int failed = !sorted || !starts;
    for (size_t i = 0; !failed && i < rows->count; i++)
        starts[rows->moments[rows->rows[i].moment].lane + 1]++;
    for (size_t lane = 0; !failed && lane < rows->lanes; lane++)
        starts[lane + 1] += starts[lane];
    for (size_t i = 0; !failed && i < rows->count; i++)
        sorted[starts[rows->moments[rows->rows[i].moment].lane]++] = rows->rows[i];
    free(starts);
    if (failed) {
        free(sorted);
        return -1;
    }
    free(rows->rows);
    rows->rows = sorted;
    rows->room = rows->count;
    return 0;
}

int rows_collect(Rows *rows, const Reading *reading, const uint64_t seed[2], const int64_t *floors,
                 size_t sources)
{
    int failed = 0;
    *rows = (Rows){.seed = {seed[0] | 1, seed[1] | 1}};
    if (floors) {
        rows->accounts = malloc((sources + 1) * sizeof(Account));
        if (!rows->accounts)
            return -1;
        rows->sources = sources;
        for (size_t i = 0; i < sources; i++)
            rows->accounts[i] = (Account){floors[i], INT64_MIN, 0, 0};
    }
    for (size_t i = 0; i < reading->count && !failed; i++) {
        const Item *item = &reading->items[i];
        if (item->kind == KNOWN)
            failed = add(rows, item->series, item->of.one.sample,
                         item->is_started ? item_start(item) : 0);
        for (size_t k = 0; item->kind == SEVERAL && k < item->of.several.count && !failed; k++) {
            const Started *started = &reading->samples[item->of.several.first + k];
            failed = add(rows, item->series, started->sample, started->start_ms);
        }
    }
    if (failed)
        return failed;
    free(rows->slots);
    rows->slots = NULL;
    rows->slot_mask = 0;
    return rows->lanes > 1 ? sort_lanes(rows) : 0;
}

/* ---- writing ---- */

int rows_layout(Rows *rows, const Span *heads, Span texts, Span end)
{
    if (left(texts) >= UINT32_MAX)
        return -2;
    free(rows->line_ends);
    rows->line_ends = malloc((rows->count + 1) * sizeof *rows->line_ends);
    if (!rows->line_ends)
        return -1;
    rows->texts_size = left(texts);
    uint64_t size = 0;
    Span rest = texts;
    for (size_t i = 0; i < rows->count; i++) {
        Row *row = &rows->rows[i];
        const uint8_t *comma = left(rest) ? memchr(rest.at, ',', left(rest)) : NULL;
        size_t text_size = comma ? (size_t)(comma - rest.at) : left(rest);
        if (!text_size || (comma != NULL) != (i + 1 < rows->count))
            return -2;
        row->text_at = (uint32_t)(rest.at - texts.at);
        rest.at = comma ? comma + 1 : rest.end;
        size += left(heads[row->moment]) + row->series->template_size + text_size + left(end);
        rows->line_ends[i] = size;
    }
    return left(rest) ? -2 : 0;
}

size_t rows_size(const Rows *rows, size_t first, size_t stop)
{
    if (first >= stop)
        return 0;
    return (size_t)(rows->line_ends[stop - 1] - (first ? rows->line_ends[first - 1] : 0));
}

static uint8_t *append(uint8_t *to, Span text)
{
    memcpy(to, text.at, left(text));
    return to + left(text);
}

void rows_write(const Rows *rows, const Span *heads, Span texts, Span end, size_t first,
                size_t stop, uint8_t *to)
{
    for (size_t i = first; i < stop; i++) {
        const Row *row = &rows->rows[i];
        if (i + AHEAD < stop)
            for (size_t line = 0; line < TEMPLATE_LINES; line++)
                __builtin_prefetch(template_of(rows->rows[i + AHEAD].series).at + 64 * line);
        size_t text_end = i + 1 < rows->count ? rows->rows[i + 1].text_at - 1 : rows->texts_size;
        to = append(to, heads[row->moment]);
        to = append(to, template_of(row->series));
        to = append(to, (Span){texts.at + row->text_at, texts.at + text_end});
        to = append(to, end);
    }
}
