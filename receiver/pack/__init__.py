"""Documents for Azure, made from metrics.json: queries, a workbook, alerts, a scaler."""
