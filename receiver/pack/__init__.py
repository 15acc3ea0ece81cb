"""What a team puts into Azure: queries, a workbook, alerts, a scaler, made from metrics.json."""
