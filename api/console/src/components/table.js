import { html } from "../html.js";

/**
 * A table of `rows`. A column is {key, label, render(row), align: "end", isHeader}; without `render` the cell is
 * row[key]. On narrow screens a row becomes a card with the labels of its columns. `caption` is for screen readers.
 */
export function Table({ caption, columns, rows, keyOf = (row) => row.id, empty }) {
  if (!rows.length && empty) return empty;
  const cell = (column, row) => {
    const content = column.render ? column.render(row) : row[column.key];
    const end = column.align === "end" ? "cell-end" : "";
    return column.isHeader
      ? html`<th scope="row" key=${column.key} class=${end} data-label=${column.label}>${content}</th>`
      : html`<td key=${column.key} class=${end} data-label=${column.label}>${content}</td>`;
  };
  return html`<div class="table-box">
    <table class="table">
      <caption class="visually-hidden">${caption}</caption>
      <thead>
        <tr>${columns.map(({ key, label, align }) => html`<th scope="col" key=${key} class=${align === "end" ? "cell-end" : ""}>${label}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map((row) => html`<tr key=${keyOf(row)}>${columns.map((column) => cell(column, row))}</tr>`)}
      </tbody>
    </table>
  </div>`;
}
