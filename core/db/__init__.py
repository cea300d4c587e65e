"""The database: engine, tables with their states, clocks and ids."""
