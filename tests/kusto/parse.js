// Parses KQL with Microsoft's language service and checks names and types.
// In: JSON on standard input, a list of queries. Out: JSON, for each query {"errors": [...], "columns": [...]}.
// Rules: the columns are those that Microsoft documents for customMetrics of an Application Insights resource.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const folder = process.argv[2];
for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"])
  vm.runInThisContext(fs.readFileSync(path.join(folder, name), "utf8"), { filename: name });
const language = globalThis.Kusto.Language;

const COLUMNS = {
  timestamp: "datetime", name: "string", value: "real", valueCount: "int", valueSum: "real", valueMin: "real",
  valueMax: "real", valueStdDev: "real", customDimensions: "dynamic", operation_Name: "string",
  cloud_RoleName: "string", cloud_RoleInstance: "string", appId: "string", appName: "string", iKey: "string",
  sdkVersion: "string", itemId: "string", itemType: "string", _ResourceId: "string", _BilledSize: "real",
  _IsBillable: "string",
};
const schema = Object.entries(COLUMNS).map(([name, type]) => `${name}:${type}`).join(", ");
const table = new language.Symbols.TableSymbol.$ctor7("customMetrics", `(${schema})`, null);
const database = new language.Symbols.DatabaseSymbol.ctor("db", [table]);
const globals = language.GlobalState.Default.WithDatabase(database);

function check(query) {
  const code = language.KustoCode.ParseAndAnalyze(query, globals);
  const found = code.GetDiagnostics();
  const errors = [];
  for (let i = 0; i < found.Count; i++) {
    const each = found.getItem(i);
    const line = query.slice(0, each.Start).split("\n").length;
    errors.push(`line ${line}: ${each.Severity} ${each.Code}: ${each.Message}`);
  }
  const columns = [];
  const type = code.ResultType;
  if (type && type.Columns)
    for (let i = 0; i < type.Columns.Count; i++)
      columns.push(`${type.Columns.getItem(i).Name}:${type.Columns.getItem(i).Type.Name}`);
  return { errors, columns };
}
console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(check)));
