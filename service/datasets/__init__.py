"""Validate uploaded data sets and store them as folders for the trainer.

Everything that is wrong with an upload stands in one report.
"""
