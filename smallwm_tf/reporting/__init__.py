"""What finished runs were worth together: tables, aggregates and a page. No TensorFlow here."""
