#include "fold.h"

#include <string.h>

typedef struct { uint32_t number; int64_t time; double value; uint64_t bits; } Record;

static Record record_at(const uint8_t *at)
{
    Record record;
    memcpy(&record.number, at, 4);
    memcpy(&record.time, at + 4, 8);
    memcpy(&record.value, at + 12, 8);
    memcpy(&record.bits, at + 12, 8);
    return record;
}

/* Whether each output that the series feeds has its newest window at this time. */
static int is_in_newest(const Columns *c, uint32_t number, int64_t time)
{
    size_t steps = 0;
    for (int32_t link = c->link[number]; link >= 0; link = c->next[link]) {
        if ((size_t)link >= c->links || ++steps > c->links)
            return 0;
        int32_t output = c->output[link];
        if (output < 0 || (size_t)output >= c->outputs)
            return 0;
        int64_t start = c->start[output];
        if (start == NEVER || time < start ||
            (uint64_t)time - (uint64_t)start >= (uint64_t)c->every[output])
            return 0;
        int32_t place = c->scrapes[output];
        if (c->kind[output] == KIND_MEAN
            && (place < 0 || (size_t)place + SCRAPES > c->places))
            return 0;
    }
    return 1;
}

/* Add to the sum and count of a scrape's time; at the limit the mean of the oldest scrape is
   taken into least and most, and its place is reused. */
static void add_to_scrape(Columns *c, int32_t output, int part, int64_t time, double amount)
{
    size_t first = (size_t)c->scrapes[output], place = first;
    for (size_t i = first; i < first + SCRAPES; i++) {
        if (c->scrape_time[i] == time) {
            place = i;
            break;
        }
        if (c->scrape_time[i] < c->scrape_time[place])
            place = i;
    }
    if (c->scrape_time[place] != time) {
        if (c->scrape_count[place] > 0) {
            double mean = c->scrape_total[place] / c->scrape_count[place];
            if (mean < c->least[output])
                c->least[output] = mean;
            if (mean > c->most[output])
                c->most[output] = mean;
        }
        c->scrape_time[place] = time;
        c->scrape_total[place] = c->scrape_count[place] = 0;
    }
    if (part)
        c->scrape_count[place] += amount;
    else
        c->scrape_total[place] += amount;
}

/* Add a sample to the newest windows; returns whether one of them is a counter's. */
static int add(Columns *c, const Record *record, double grown, int64_t now_ms)
{
    int is_counter = 0;
    for (int32_t link = c->link[record->number]; link >= 0; link = c->next[link]) {
        int32_t output = c->output[link];
        int kind = c->kind[output], part = c->part[link];
        double amount = kind <= KIND_AGGREGATE ? record->value : grown;
        is_counter |= kind > KIND_AGGREGATE;
        c->touched[output] = now_ms;
        if (kind == KIND_LAST)
            c->total[output] = amount;
        else if (!part)
            c->total[output] += amount;
        else
            c->count[output] += amount;
        if (kind == KIND_AGGREGATE) {
            c->count[output] += 1;
            if (amount < c->least[output])
                c->least[output] = amount;
            if (amount > c->most[output])
                c->most[output] = amount;
        } else if (kind == KIND_MEAN) {
            add_to_scrape(c, output, part, record->time, amount);
        }
    }
    return is_counter;
}

static int is_deferred(const Folded *folded, uint32_t number)
{
    return folded->rest_size && folded->deferred[number / 8] >> number % 8 & 1;
}

static void hand_back(const Columns *c, Folded *folded, const uint8_t *at, size_t size,
                      uint32_t number)
{
    memcpy(folded->rest + folded->rest_size, at, size);
    folded->rest_size += size;
    if (number < c->series)
        folded->deferred[number / 8] |= (uint8_t)(1 << number % 8);
}

/* Whether the counter was reset: its start is newer than before, and not before its last sample. */
static int is_reset(const Columns *c, const Record *record, int64_t start)
{
    return start > c->begun[record->number] && start >= c->time[record->number] && start < record->time;
}

void fold_records(const uint8_t *records, size_t size, int64_t future_ms, int64_t now_ms,
                  Columns *c, Folded *folded)
{
    size_t taken = RECORD_SIZE;
    for (size_t place = 0; place + RECORD_SIZE <= size; place += taken) {
        Record record = record_at(records + place);
        const uint32_t number = record.number;
        int64_t start = 0;
        taken = RECORD_SIZE;
        if (record.bits == START_BITS) {
            if (place + 2 * RECORD_SIZE > size)
                break;
            start = record.time;
            record = record_at(records + place + RECORD_SIZE);
            if (record.number != number || record.bits == START_BITS)
                continue; /* no writer makes such records */
            taken = 2 * RECORD_SIZE;
        }
        if (number >= c->series || record.time > future_ms || is_deferred(folded, number)) {
            hand_back(c, folded, records + place, taken, number);
            continue;
        }
        const int32_t target = c->target[number];
        const int64_t last_ms = c->time[number];
        if (target < 0 || (size_t)target >= c->targets || last_ms <= FORGOTTEN) {
            hand_back(c, folded, records + place, taken, number);
            continue;
        }
        if (record.time <= last_ms) {
            folded->repeated++;
            continue;
        }
        if (c->first[target] == NEVER || !is_in_newest(c, number, record.time)) {
            hand_back(c, folded, records + place, taken, number);
            continue;
        }
        const double last = c->value[number];
        const int began = is_reset(c, &record, start);
        const double grown = record.value >= last && !began ? record.value - last : record.value;
        c->time[number] = record.time;
        c->value[number] = record.value;
        if (start > 0)
            c->begun[number] = start;
        if (add(c, &record, grown, now_ms) && (record.value < last || (began && last > 0)))
            folded->resets++;
    }
}
