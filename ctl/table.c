/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Aligned columns on stdout, as wide as their widest cell; on a terminal one column gives way where the lines would be
 * too long, headings are underlined and a status coloured. Control characters in cells are made visible.
 * A table is printed whole, once all rows are known.
 */

#include "ctl/table.h"

#include "ctl/terminal.h"
#include "ctl/text.h"

#define GAP 2U
#define CUT_MIN 10U

/** table_row() - appends a row, taking its cells (n_columns of them); the first row holds the headings. False: no
 * memory. */
bool table_row(Table *table, TableColour colour, char *const *cells) {
        TableColour *colours = reallocarray(table->colours, table->n_rows + 1, sizeof(*colours));
        bool ok = colours;

        if (colours) {
                table->colours = colours;
                colours[table->n_rows] = colour;
        }
        for (size_t i = 0; i < table->n_columns; i++) {
                _cleanup_free_ char *cell = cells[i];

                ok = ok && cell && strv_take(&table->cells, text_visible(cell));
        }
        if (ok)
                table->n_rows++;
        return ok;
}

static void measure(const Table *table, size_t widths[]) {
        size_t total = 0, columns = terminal_columns();

        for (size_t i = 0; i < table->n_columns; i++) {
                widths[i] = 0;
                for (size_t row = 0; row < table->n_rows; row++) {
                        size_t width = text_width(table->cells.v[row * table->n_columns + i]);

                        if (width > widths[i])
                                widths[i] = width;
                }
                if (table->cut_max > 0 && i == table->cut && widths[i] > table->cut_max)
                        widths[i] = table->cut_max;
                total += widths[i] + (i > 0 ? GAP : 0);
        }
        if (columns == 0 || total <= columns || table->cut >= table->n_columns)
                return;
        total -= columns;
        if (widths[table->cut] > total + CUT_MIN)
                widths[table->cut] -= total;
        else if (widths[table->cut] > CUT_MIN)
                widths[table->cut] = CUT_MIN;
}

/* The length in bytes of the first n characters. */
static size_t prefix_length(const char *s, size_t n) {
        size_t i = 0;

        while (s[i] && (n > 0 || ((unsigned char)s[i] & 0xc0) == 0x80)) {
                if (((unsigned char)s[i] & 0xc0) != 0x80)
                        n--;
                i++;
        }
        return i;
}

static void print_cell(const char *cell, size_t width, bool right, bool last) {
        size_t used = text_width(cell);

        if (used > width) {
                printf("%.*s…", (int)prefix_length(cell, width - 1), cell);
                used = width;
        } else
                printf("%*s%s", right ? (int)(width - used) : 0, "", cell);
        if (!last)
                printf("%*s", (int)(right ? GAP : width - used + GAP), "");
}

static const char *colour_code(const Table *table, size_t row, size_t column) {
        static const char *const codes[] = { "", "\033[32m", "\033[31m", "\033[33m" };

        if (row == 0)
                return "\033[4m";
        return column == table->coloured ? codes[table->colours[row]] : "";
}

/** table_print() - see above. */
void table_print(Table *table) {
        size_t widths[TABLE_COLUMNS_MAX];
        bool colours = terminal_colours();

        measure(table, widths);
        for (size_t row = 0; row < table->n_rows; row++) {
                for (size_t i = 0; i < table->n_columns; i++) {
                        const char *code = colours ? colour_code(table, row, i) : "";

                        fputs(code, stdout);
                        print_cell(table->cells.v[row * table->n_columns + i], widths[i], table->right[i],
                                   i + 1 == table->n_columns);
                        if (*code)
                                fputs("\033[0m", stdout);
                }
                putchar('\n');
        }
}

/** table_clear() - frees the cells. */
void table_clear(Table *table) {
        strv_clear(&table->cells);
        free(table->colours);
        table->colours = NULL;
        table->n_rows = 0;
}
