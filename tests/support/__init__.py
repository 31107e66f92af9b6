"""What the test suites share: programs under test, a server guard, a strict HTTP client."""
