module tshx/integration/peers/cassandra

go 1.26.8

require (
	github.com/datastax/go-cassandra-native-protocol v0.0.0-20240903140133-605a850e203b
	github.com/rs/zerolog v1.20.0
)

require (
	github.com/golang/snappy v0.0.3 // indirect
	github.com/pierrec/lz4/v4 v4.0.3 // indirect
)
