"""What recorded usage tells: trend, season, forecast, anomalies and suggestions. Plain methods, back-tested."""
