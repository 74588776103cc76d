"""What the routes take and answer, as OpenAPI says it. Imported only when somebody asks: nothing else needs it."""
