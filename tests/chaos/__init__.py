"""The breaker: a campaign whose workers, connections and server are broken on purpose, and a count of what it kept."""
