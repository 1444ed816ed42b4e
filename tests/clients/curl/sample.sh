#!/bin/sh
# Vectorize with curl: a collection that embeds, texts inserted, texts found by meaning.
# Prints the answers of the five questions, one JSON object a line.
set -eu

post() {
  curl --silent --show-error --fail --max-time 60 "$ORRERY_URL/v1/default_keyspace$1" \
    --header "Token: $ORRERY_TOKEN" --header "Content-Type: application/json" --data "$2"
  echo
}

post "" "{\"createCollection\": {\"name\": \"$COLLECTION\", \"options\": {\"vector\": {
  \"metric\": \"cosine\", \"dimension\": $DIMENSION, \"service\": {\"provider\": \"$PROVIDER\",
  \"modelName\": \"$MODEL\", \"authentication\": {\"providerKey\": \"$KEY_NAME\"}}}}}}" >&2
post "/$COLLECTION" "{\"insertMany\": {\"documents\": $DOCUMENTS}}" >&2

post "/$COLLECTION" "{\"find\": {\"sort\": {\"\$vectorize\": \"$QUERY\"},
  \"options\": {\"limit\": 3, \"includeSimilarity\": true}}}"
post "/$COLLECTION" "{\"findOne\": {\"filter\": {\"kind\": \"food\"}, \"sort\": {\"\$vectorize\": \"$QUERY\"}}}"
post "/$COLLECTION" "{\"updateOne\": {\"filter\": {\"_id\": \"cake\"},
  \"update\": {\"\$set\": {\"\$vectorize\": \"$NEW_TEXT\"}}}}" >&2
post "/$COLLECTION" "{\"findOne\": {\"sort\": {\"\$vectorize\": \"$NEW_QUERY\"}}}"
post "/$COLLECTION" '{"deleteOne": {"filter": {"_id": "goal"}}}' >&2
post "/$COLLECTION" '{"countDocuments": {}}'
post "" "{\"deleteCollection\": {\"name\": \"$COLLECTION\"}}" >&2
