#include "bench/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* A thread that is busier than this has little left to give. */
#define BUSY 0.9

static bench_item *item_new(bench_report *r, const char *key, const char *label)
{
    bench_item *i = &r->item[r->n < BENCH_REPORT_MAX - 1 ? r->n++ : r->n];

    *i = (bench_item){.key = key, .label = label};
    return i;
}

void bench_report_text(bench_report *r, const char *key, const char *label, const char *text)
{
    bench_item *i = item_new(r, key, label);

    i->is_text = true;
    snprintf(i->text, sizeof(i->text), "%s", text);
}

void bench_report_number(bench_report *r, const char *key, const char *label, double v, int digits, const char *unit)
{
    bench_item *i = item_new(r, key, label);

    i->is_missing = !isfinite(v);
    i->number = v;
    i->digits = digits;
    i->unit = unit;
}

void bench_report_warn(bench_report *r, const char *format, ...)
{
    va_list args;

    if (r->n_warnings == BENCH_WARNINGS_MAX)
        return;
    va_start(args, format);
    vsnprintf(r->warning[r->n_warnings++], sizeof(r->warning[0]), format, args);
    va_end(args);
}

void bench_report_setup(bench_report *r, const bench_load *l)
{
    const bench_options *o = l->options;

    bench_report_text(r, "mode", "mode", bench_mode_name(o->mode));
    bench_report_text(r, "server", "server", o->server);
    bench_report_text(r, "tls", "TLS", l->target.tls != NULL ? "yes" : "no");
    bench_report_number(r, "threads", "threads", o->threads, 0, NULL);
}

void bench_report_latency(bench_report *r, const bench_histogram *h, const char *prefix, const char *label)
{
    static const struct {
        const char *name;
        double q;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    static char keys[2][sizeof(points) / sizeof(*points)][40], labels[2][sizeof(points) / sizeof(*points)][40];
    static unsigned used;
    unsigned set = used++ % 2;

    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        snprintf(keys[set][i], sizeof(keys[set][i]), "%s_%s_us", prefix, points[i].name);
        snprintf(labels[set][i], sizeof(labels[set][i]), "%s %s", label, points[i].name);
        bench_report_number(r, keys[set][i], labels[set][i], h->n != 0 ? (double)bench_histogram_at(h, points[i].q) / 1000 : NAN, 1,
                            "us");
    }
}

void bench_report_tally(bench_report *r, const bench_tally *t)
{
    bench_report_number(r, "lost", "lost", (double)t->lost, 0, NULL);
    bench_report_number(r, "duplicates", "duplicates", (double)t->duplicates, 0, NULL);
    bench_report_number(r, "reordered", "out of order", (double)t->reordered, 0, NULL);
    bench_report_number(r, "corrupt", "corrupt", (double)t->corrupt, 0, NULL);
}

void bench_report_cost(bench_report *r, const bench_load *l, double events, const char *what)
{
    static char label[2][64], unit[64];
    double seconds = (double)(l->to.time_ns - l->from.time_ns) / 1e9, own = 0, busiest = 0;
    double node = (double)(l->to.node.cpu_ns - l->from.node.cpu_ns) / 1e9;
    bool has_node = l->options->pid != 0;

    for (unsigned i = 0; i < l->n_threads; i++) {
        double cpu = (double)l->threads[i].cpu_ns / 1e9;

        own += cpu;
        busiest = cpu > busiest ? cpu : busiest;
    }
    busiest = seconds > 0 ? busiest / seconds : 0;
    snprintf(unit, sizeof(unit), "us per %s", what);
    snprintf(label[0], sizeof(label[0]), "node CPU");
    bench_report_number(r, "node_cpu_us", label[0], has_node && events > 0 ? node * 1e6 / events : NAN, 3, unit);
    bench_report_number(r, "node_busy", "node busy", has_node && seconds > 0 ? node / seconds * 100 : NAN, 0, "% of a core");
    bench_report_number(r, "node_rss_mib", "node memory", has_node ? (double)l->to.node.rss_bytes / 1048576 : NAN, 1, "MiB");
    bench_report_number(r, "own_cpu_us", "own CPU", events > 0 ? own * 1e6 / events : NAN, 3, unit);
    bench_report_number(r, "own_busiest", "own busiest thread", busiest * 100, 0, "% of a core");
    if (busiest < BUSY)
        return;
    if (!has_node)
        bench_report_warn(r,
                          "a thread of slimbench was %.0f %% busy, so the load may be the limit and not the node; --pid tells, "
                          "--threads %u may help",
                          busiest * 100, l->n_threads * 2);
    else if (node / seconds < BUSY)
        bench_report_warn(r,
                          "slimbench is the bottleneck: a thread of it was %.0f %% busy, the node used %.0f %% of a core; "
                          "--threads %u may help",
                          busiest * 100, node / seconds * 100, l->n_threads * 2);
}

/* 1234567 as 1,234,567. */
static void number_text(const bench_item *i, char *out, size_t n)
{
    char plain[64];
    size_t digits, at = 0;

    if (i->is_missing) {
        snprintf(out, n, "-");
        return;
    }
    snprintf(plain, sizeof(plain), "%.*f", i->digits, i->number);
    digits = strcspn(plain, ".");
    for (size_t k = 0; plain[k] != '\0' && at + 2 < n; k++) {
        if (k > 0 && k < digits && (digits - k) % 3 == 0 && plain[k - 1] != '-')
            out[at++] = ',';
        out[at++] = plain[k];
    }
    out[at] = '\0';
}

static void print_json_text(const char *s)
{
    putchar('"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            printf("\\u%04x", (unsigned)*s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void print_json(const bench_report *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const bench_item *it = &r->item[i];

        printf("%s\"%s\": ", i == 0 ? "{" : ", ", it->key);
        if (it->is_text)
            print_json_text(it->text);
        else if (it->is_missing)
            printf("null");
        else
            printf("%.*f", it->digits, it->number);
    }
    printf(", \"warnings\": [");
    for (uint32_t i = 0; i < r->n_warnings; i++) {
        printf("%s", i == 0 ? "" : ", ");
        print_json_text(r->warning[i]);
    }
    printf("]}\n");
}

static void print_csv(const bench_report *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        printf("%s%s", i == 0 ? "" : ",", r->item[i].key);
    putchar('\n');
    for (uint32_t i = 0; i < r->n; i++) {
        const bench_item *it = &r->item[i];

        if (i != 0)
            putchar(',');
        if (it->is_text && strpbrk(it->text, ",\"\n") != NULL) {
            putchar('"');
            for (const char *s = it->text; *s != '\0'; s++)
                printf(*s == '"' ? "\"\"" : "%c", *s);
            putchar('"');
        } else if (it->is_text) {
            printf("%s", it->text);
        } else if (!it->is_missing) {
            printf("%.*f", it->digits, it->number);
        }
    }
    putchar('\n');
}

static void print_table(const bench_report *r)
{
    char text[96];

    for (uint32_t i = 0; i < r->n; i++) {
        const bench_item *it = &r->item[i];

        if (it->label == NULL || it->is_missing)
            continue;
        if (!it->is_text)
            number_text(it, text, sizeof(text));
        printf("%-22s %16s%s%s\n", it->label, it->is_text ? it->text : text, it->unit != NULL ? " " : "",
               it->unit != NULL ? it->unit : "");
    }
}

void bench_report_print(const bench_report *r, bench_format format)
{
    if (format == BENCH_JSON)
        print_json(r);
    else if (format == BENCH_CSV)
        print_csv(r);
    else
        print_table(r);
    fflush(stdout);
    for (uint32_t i = 0; i < r->n_warnings; i++)
        fprintf(stderr, "slimbench: warning: %s\n", r->warning[i]);
}
