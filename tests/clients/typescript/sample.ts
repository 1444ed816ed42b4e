// Vectorize with astra-db-ts: a collection that embeds, texts inserted, texts found by meaning.
import { DataAPIClient } from '@datastax/astra-db-ts';

const env = process.env as Record<string, string>;
const client = new DataAPIClient({ environment: env.ENVIRONMENT as 'hcd' });
const database = client.db(env.ORRERY_URL, { token: env.ORRERY_TOKEN, keyspace: 'default_keyspace' });

const collection = await database.createCollection(env.COLLECTION, {
  vector: {
    metric: 'cosine',
    dimension: Number(env.DIMENSION),
    service: {
      provider: env.PROVIDER,
      modelName: env.MODEL,
      authentication: { providerKey: env.KEY_NAME },
    },
  },
});
const documents = JSON.parse(env.DOCUMENTS);
await collection.insertOne(documents[0]);
await collection.insertMany(documents.slice(1));

const found = await collection
  .find({})
  .sort({ $vectorize: env.QUERY })
  .limit(3)
  .includeSimilarity(true)
  .toArray();
const filtered = await collection.findOne({ kind: 'food' }, { sort: { $vectorize: env.QUERY } });
await collection.updateOne({ _id: 'cake' }, { $set: { $vectorize: env.NEW_TEXT } });
const updated = await collection.findOne({}, { sort: { $vectorize: env.NEW_QUERY } });
await collection.deleteOne({ _id: 'goal' });
const result = {
  found: found.map((document) => document._id),
  similarities: found.map((document) => document.$similarity),
  filtered: filtered?._id,
  updated: updated?._id,
  count: await collection.countDocuments({}, 100),
};
await collection.drop();
console.log(JSON.stringify(result));
