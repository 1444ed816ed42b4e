// Everything of astra-db-ts around the collection: database, administration, errors, time limits, events, HTTP.
import assert from 'node:assert/strict';
import {
  type CommandEventMap,
  DataAPIClient,
  DataAPIHttpError,
  DataAPITimeoutError,
  EmbeddingAPIKeyHeaderProvider,
  FetchNative,
  type FetcherRequestInfo,
  InvalidEnvironmentError,
  ObjectId,
  type SomeDoc,
  StaticTokenProvider,
  UUID,
  UsernamePasswordTokenProvider,
} from '@datastax/astra-db-ts';
import * as fetchH2 from 'fetch-h2';
import { access, client, database, done, env, environment, named, service } from './connect.ts';
import { failure, refused, section } from './connect.ts';

const NAME = named('settings');

await section('createCollection: ids', async () => {
  const kinds = { objectId: undefined, uuid: 4, uuidv6: 6, uuidv7: 7 } as const;
  for (const [type, version] of Object.entries(kinds) as [keyof typeof kinds, number | undefined][]) {
    const collection = await database.createCollection<SomeDoc>(NAME, { defaultId: { type } });
    assert.deepEqual((await collection.options()).defaultId, { type });
    const { insertedId } = await collection.insertOne({ a: 1 });
    const { insertedIds } = await collection.insertMany([{ b: 1 }, { b: 2 }]);
    const { upsertedId } = (await collection.updateOne({ c: 1 }, { $set: { d: 1 } }, { upsert: true })) as any;
    for (const id of [insertedId, ...insertedIds, upsertedId]) {
      assert.ok(version === undefined ? id instanceof ObjectId : id instanceof UUID && id.version === version);
      assert.ok(id.equals((await collection.findOne({ _id: id }))?._id));
    }
    await collection.drop();
  }
  const wrong: any = { defaultId: { type: 'number' } };
  await refused('COMMAND_FIELD_VALUE_INVALID', () => database.createCollection(NAME, wrong));
});

await section('createCollection: indexing', async () => {
  const allowed = await database.createCollection<SomeDoc>(NAME, { indexing: { allow: ['name', 'at.x'] } });
  assert.deepEqual((await allowed.options()).indexing, { allow: ['name', 'at.x'] });
  await allowed.insertOne({ _id: 1, name: 'n', other: 'x'.repeat(9000), at: { x: 1, y: 2 } });
  assert.equal((await allowed.findOne({ name: 'n', 'at.x': 1 }))?.other.length, 9000);
  await refused('FILTER_PATH_UNINDEXED', () => allowed.findOne({ 'at.y': 2 }));
  await refused('SORT_CLAUSE_PATH_UNINDEXED', () => allowed.findOne({}, { sort: { other: 1 } }));
  await allowed.drop();
  const denied = await database.createCollection<SomeDoc>(NAME, { indexing: { deny: ['blob'] } });
  assert.deepEqual((await denied.options()).indexing, { deny: ['blob'] });
  await refused('FILTER_PATH_UNINDEXED', () => denied.findOne({ blob: 2 }));
  assert.equal(await denied.findOne({ other: 2 }), null);
  await denied.drop();
  const both: any = { indexing: { allow: ['a'], deny: ['b'] } };
  await refused('INVALID_INDEXING_DEFINITION', () => database.createCollection(NAME, both));
});

await section('createCollection: vectors', async () => {
  const similarities = { cosine: 0.9, euclidean: 1 / (1 + 0.4), dot_product: 0.9 };
  for (const [metric, similarity] of Object.entries(similarities) as [keyof typeof similarities, number][]) {
    const vector = { dimension: 2, metric, sourceModel: 'other' };
    const collection = await database.createCollection<SomeDoc>(NAME, { vector });
    assert.deepEqual((await collection.options()).vector, vector);
    await collection.insertOne({ $vector: [0.6, 0.8] });
    const found = await collection.findOne({}, { sort: { $vector: [0, 1] }, includeSimilarity: true });
    assert.ok(Math.abs(found!.$similarity! - similarity) < 1e-6, `${metric}: ${found!.$similarity}`);
    await collection.drop();
  }
  const ada = await database.createCollection(NAME, { vector: { dimension: 5, sourceModel: 'ada002' } });
  assert.deepEqual((await ada.options()).vector, { dimension: 5, metric: 'dot_product', sourceModel: 'ada002' });
  await ada.drop();
  await refused('INVALID_CREATE_COLLECTION_OPTIONS', () => database.createCollection(NAME, { vector: {} }));
  const plain = await database.createCollection<SomeDoc>(NAME);
  await refused('VECTOR_SEARCH_NOT_SUPPORTED', () => plain.findOne({}, { sort: { $vector: [1] } }));
  await plain.drop();
});

await section('createCollection: service, lexical, rerank', async () => {
  // The client's types ask for a service of reranking, even of a collection that has none.
  const off: any = { lexical: { enabled: false }, rerank: { enabled: false } };
  const collection = await database.createCollection<SomeDoc>(NAME, { vector: { metric: 'cosine', service }, ...off });
  const definition = await collection.options();
  const authentication = { providerKey: `${env.KEY_NAME}.providerKey` };
  assert.deepEqual(definition, {
    vector: {
      ...{ dimension: Number(env.DIMENSION), metric: 'cosine', sourceModel: 'other' },
      service: { ...service, authentication },
    },
    ...off,
  });
  await database.createCollection(NAME, definition);
  await refused('EXISTING_COLLECTION_DIFFERENT_SETTINGS', () => database.createCollection(NAME));
  const wrong = database.collection<SomeDoc>(NAME, { embeddingApiKey: 'not the key' });
  await refused('EMBEDDING_PROVIDER_CLIENT_ERROR', () => wrong.insertOne({ $vectorize: 'text' }));
  const provider = new EmbeddingAPIKeyHeaderProvider('not the key either');
  const also = database.collection<SomeDoc>(NAME, { embeddingApiKey: provider });
  await refused('EMBEDDING_PROVIDER_CLIENT_ERROR', () => also.findOne({}, { sort: { $vectorize: 'text' } }));
  assert.equal(await collection.countDocuments({}, 10), 0);
  await collection.drop();
  const unknown = { vector: { service: { provider: 'nobody', modelName: 'none' } } };
  await refused('INVALID_CREATE_COLLECTION_OPTIONS', () => database.createCollection(NAME, unknown));
  await refused('LEXICAL_FEATURE_NOT_ENABLED', () =>
    database.createCollection(NAME, { lexical: { enabled: true, analyzer: 'standard' } }),
  );
  await refused('RERANKING_FEATURE_NOT_ENABLED', () => {
    const reranking = { provider: 'nvidia', modelName: 'nvidia/llama-3.2-nv-rerankqa-1b-v2' };
    return database.createCollection(NAME, { rerank: { enabled: true, service: reranking } });
  });
});

await section('Db: collections', async () => {
  await database.createCollection(NAME, { defaultId: { type: 'uuid' }, vector: { dimension: 2 } });
  assert.ok((await database.listCollections({ nameOnly: true })).includes(NAME));
  const descriptors = await database.listCollections();
  assert.deepEqual(descriptors.find((item) => item.name === NAME)?.definition, {
    defaultId: { type: 'uuid' },
    vector: { dimension: 2, metric: 'cosine', sourceModel: 'other' },
    lexical: { enabled: false },
    rerank: { enabled: false },
  });
  await database.dropCollection(NAME);
  await database.dropCollection(NAME);
  assert.ok(!(await database.listCollections({ nameOnly: true })).includes(NAME));
  await refused('UNSUPPORTED_SCHEMA_NAME', () => database.createCollection('no-good name'));
  const collection = database.collection<SomeDoc>(NAME);
  assert.deepEqual([collection.name, collection.keyspace], [NAME, 'default_keyspace']);
  const error = await refused('UNKNOWN_COLLECTION_OR_TABLE', () => collection.insertOne({}));
  assert.match(error.message, new RegExp(NAME));
  await assert.rejects(collection.options(), /not found/);
  await assert.rejects(database.info(), InvalidEnvironmentError);
  assert.throws(() => database.id, InvalidEnvironmentError);
  for (const action of [() => database.listTables(), () => database.createTable(NAME, { definition: {} as any })]) {
    await refused('COMMAND_UNKNOWN', action);
  }
});

await section('Db: commands', async () => {
  const names = await database.command({ findCollections: {} });
  assert.ok(Array.isArray(names.status?.collections));
  const keyspaces = await database.command({ findKeyspaces: {} }, { keyspace: null });
  assert.ok(keyspaces.status?.keyspaces.includes('default_keyspace'));
  await database.createCollection(NAME);
  const inserted = await database.command({ insertOne: { document: { _id: 1 } } }, { collection: NAME });
  assert.deepEqual(inserted.status, { insertedIds: [1] });
  const found = await database.command({ findOne: {} }, { collection: NAME, keyspace: 'default_keyspace' });
  assert.deepEqual(found.data, { document: { _id: 1 } });
  await refused('COMMAND_UNKNOWN', () => database.command({ doNothing: {} }));
  await refused('UNKNOWN_KEYSPACE', () => database.command({ findCollections: {} }, { keyspace: 'nowhere' }));
  await database.dropCollection(NAME);
});

await section('DbAdmin: keyspaces and providers', async () => {
  const admin = database.admin({ environment });
  assert.equal(admin.db(), database);
  const keyspace = named('space');
  await admin.createKeyspace(keyspace);
  await admin.createKeyspace(keyspace, { replication: { class: 'NetworkTopologyStrategy', dc1: 1 } });
  assert.ok((await admin.listKeyspaces()).includes(keyspace));
  const other = client.db(env.ORRERY_URL, access);
  await other.createCollection(NAME, { keyspace });
  assert.deepEqual(await other.listCollections({ nameOnly: true, keyspace }), [NAME]);
  assert.ok(!(await other.listCollections({ nameOnly: true })).includes(NAME));
  other.useKeyspace(keyspace);
  assert.equal(other.keyspace, keyspace);
  const collection = other.collection<SomeDoc>(NAME);
  await collection.insertOne({ _id: 'here' });
  assert.equal(await database.collection(NAME, { keyspace }).countDocuments({}, 5), 1);
  await database.dropCollection(NAME, { keyspace });
  await admin.dropKeyspace(keyspace);
  await admin.dropKeyspace(keyspace);
  assert.ok(!(await admin.listKeyspaces()).includes(keyspace));
  await refused('UNKNOWN_KEYSPACE', () => collection.findOne({}));
  await other.admin({ environment }).createKeyspace(`${keyspace}_2`, { updateDbKeyspace: true });
  assert.equal(other.keyspace, `${keyspace}_2`);
  await admin.dropKeyspace(`${keyspace}_2`);
  const { embeddingProviders } = await admin.findEmbeddingProviders();
  const { models, supportedAuthentication } = embeddingProviders[service.provider];
  const model = models.find((item) => item.name === service.modelName);
  assert.deepEqual([model?.vectorDimension, model?.apiModelSupport.status], [Number(env.DIMENSION), 'SUPPORTED']);
  assert.equal(supportedAuthentication.SHARED_SECRET.enabled, true);
  await refused('RERANKING_FEATURE_NOT_ENABLED', () => admin.findRerankingProviders());
});

await section('tokens and addresses', async () => {
  const list = (options: object, url = env.ORRERY_URL) => client.db(url, { ...access, ...options }).listCollections();
  await list({ token: new StaticTokenProvider(env.ORRERY_TOKEN) });
  await refused('UNAUTHENTICATED_REQUEST', () => list({ token: 'wrong' }));
  await refused('UNAUTHENTICATED_REQUEST', () => list({ token: new UsernamePasswordTokenProvider('user', 'word') }));
  await refused('MISSING_AUTHENTICATION_TOKEN', () => list({ token: null }));
  const lost = await failure(DataAPIHttpError, () => list({ dataApiPath: 'v9' }));
  assert.equal(lost.status, 404);
  const huge = { document: { text: 'x'.repeat(21 * 1024 * 1024) } };
  const large = await failure(DataAPIHttpError, () => database.command({ insertOne: huge }, { collection: NAME }));
  assert.equal(large.status, 413);
});

await section('time limits', async () => {
  const collection = await database.createCollection<SomeDoc>(NAME, { timeout: 30_000 });
  const documents = Array.from({ length: 2000 }, (_, _id) => ({ _id, list: Array.from({ length: 100 }, (_, n) => n) }));
  const request = await failure(DataAPITimeoutError, () =>
    collection.insertMany(documents, { timeout: { requestTimeoutMs: 1 } }),
  );
  assert.deepEqual(request.timedOutCategories, ['requestTimeoutMs']);
  const whole = await failure(DataAPITimeoutError, () =>
    collection.insertMany(documents, { ordered: true, timeout: { generalMethodTimeoutMs: 20 } }),
  );
  assert.deepEqual(whole.timedOutCategories, ['generalMethodTimeoutMs']);
  const hasty = database.collection<SomeDoc>(NAME, { timeoutDefaults: { requestTimeoutMs: 1 } });
  await failure(DataAPITimeoutError, () => hasty.insertMany(documents));
  assert.equal(await collection.countDocuments({ _id: 'none' }, 1, { timeout: 20_000 }), 0);
  await collection.drop({ timeout: 20_000 });
});

await section('events', async () => {
  const watched = new DataAPIClient({ environment, logging: [{ events: 'all', emits: 'event' }] });
  const db = watched.db(env.ORRERY_URL, access);
  const seen: string[] = [];
  for (const name of ['commandStarted', 'commandSucceeded', 'commandFailed', 'commandWarnings'] as const) {
    watched.on(name, (event: CommandEventMap[typeof name]) => seen.push(`${name} ${event.commandName}`));
  }
  const administrative: string[] = [];
  const admin = db.admin({ environment });
  admin.on('adminCommandStarted', (event) => administrative.push(event.invokingMethod));
  admin.on('adminCommandSucceeded', (event) => administrative.push(event.invokingMethod));
  const collection = await db.createCollection<SomeDoc>(NAME);
  const own: number[] = [];
  const stop = collection.on('commandSucceeded', (event) => own.push(event.duration));
  await collection.insertOne({ _id: 1 });
  stop();
  await refused('DOCUMENT_ALREADY_EXISTS', () => collection.insertOne({ _id: 1 }));
  await db.command({ findNamespaces: {} }, { keyspace: null });
  await admin.listKeyspaces();
  await collection.drop();
  assert.deepEqual(seen, [
    ...['commandStarted createCollection', 'commandSucceeded createCollection'],
    ...['commandStarted insertOne', 'commandSucceeded insertOne'],
    ...['commandStarted insertOne', 'commandFailed insertOne'],
    ...['commandStarted findNamespaces', 'commandWarnings findNamespaces', 'commandSucceeded findNamespaces'],
    ...['commandStarted deleteCollection', 'commandSucceeded deleteCollection'],
  ]);
  assert.deepEqual(administrative, ['dbAdmin.listKeyspaces', 'dbAdmin.listKeyspaces']);
  assert.equal(own.length, 1);
  await watched.close();
});

await section('HTTP clients and versions', async () => {
  const requests: FetcherRequestInfo[] = [];
  const native = new FetchNative();
  const fetcher = {
    fetch: (info: FetcherRequestInfo) => {
      requests.push(info);
      return native.fetch(info);
    },
  };
  // By itself fetch-h2 speaks HTTP/2 only where TLS agreed on it; this one starts with it.
  const versions: number[] = [];
  const context = (options?: object) => {
    const made = fetchH2.context({ ...options, httpProtocol: 'http2' });
    const fetch = async (...given: Parameters<typeof made.fetch>) => {
      const response = await made.fetch(...given);
      versions.push(response.httpVersion);
      return response;
    };
    return { ...made, fetch };
  };
  const kinds = [
    { client: 'fetch' },
    { client: 'fetch-h2', fetchH2, preferHttp2: false },
    { client: 'fetch-h2', fetchH2, http1: { keepAlive: true, maxSockets: 2 } },
    { client: 'fetch-h2', fetchH2: { ...fetchH2, context } },
    { client: 'custom', fetcher },
  ] as const;
  for (const httpOptions of kinds) {
    const own = new DataAPIClient({ environment, httpOptions, caller: ['orrery-test', '1.0'] });
    const collection = await own.db(env.ORRERY_URL, access).createCollection<SomeDoc>(NAME);
    const documents = Array.from({ length: 300 }, (_, n) => ({ n, text: 'é'.repeat(2000) }));
    assert.equal((await collection.insertMany(documents, { concurrency: 6 })).insertedCount, 300);
    const found = await Promise.all(documents.slice(0, 20).map(({ n }) => collection.findOne({ n })));
    assert.deepEqual(found.map((document) => document?.n), documents.slice(0, 20).map(({ n }) => n));
    assert.equal((await collection.find({}).toArray()).length, 300);
    await refused('FILTER_UNSUPPORTED_OPERATOR', () => collection.findOne({ n: { $what: 1 } }));
    await collection.drop();
    await own.close();
    await assert.rejects(collection.findOne({}), /closed client/);
  }
  assert.ok(versions.length > 30 && versions.every((version) => version === 2), `${versions}`);
  assert.ok(requests.length > 25 && requests.every((info) => info.headers['User-Agent'].includes('orrery-test/1.0')));
});

done();
