"""Test data, fakes and servers for the tests."""
