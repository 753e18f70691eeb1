"""Insights from recorded usage: trend, season, forecast, anomalies and suggestions."""
