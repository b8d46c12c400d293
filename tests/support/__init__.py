"""What tests are made with: servers, builders and stand-ins."""
