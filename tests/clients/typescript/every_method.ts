// Every method of astra-db-ts's collection, with vectors of the caller's own, each result checked where it comes.
import assert from 'node:assert/strict';
import {
  CollectionDeleteManyError,
  CollectionInsertManyError,
  CollectionUpdateManyError,
  DataAPIResponseError,
  DataAPIVector,
  type SomeDoc,
  TooManyDocumentsToCountError,
  vector,
} from '@datastax/astra-db-ts';
import { database, done, env, failure, named, refused, section, service } from './connect.ts';

const KINDS = ['even', 'odd'];
const things: SomeDoc[] = Array.from({ length: 130 }, (_, n) => ({
  _id: n,
  n,
  kind: KINDS[n % 2],
  tags: [`t${n % 3}`, 'all'],
  at: { x: n % 5, path: [{ step: n }, { step: n + 1, mark: `m${n % 2}` }] },
  $vector: [0.5, n / 128, 0],
}));
const collection = await database.createCollection<SomeDoc>(named('methods'), {
  vector: { dimension: 3, metric: 'euclidean' },
});
const numbers = (documents: SomeDoc[]) => documents.map((document) => document.n);

await section('insertOne', async () => {
  assert.deepEqual(await collection.insertOne({ _id: 'first', n: -1, $vector: [1, 0, 0] }), { insertedId: 'first' });
  const { insertedId } = await collection.insertOne({ n: -2 });
  assert.match(String(insertedId), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.equal((await collection.findOne({ _id: insertedId }))?.n, -2);
  const error = await refused('DOCUMENT_ALREADY_EXISTS', () => collection.insertOne({ _id: 'first', n: 0 }));
  assert.deepEqual(Object.keys(error.command), ['insertOne']);
  await collection.deleteMany({ n: { $lt: 0 } });
});

await section('insertMany', async () => {
  const ordered = await collection.insertMany(things.slice(0, 50), { ordered: true, chunkSize: 20 });
  assert.deepEqual(ordered, { insertedCount: 50, insertedIds: Array.from({ length: 50 }, (_, n) => n) });
  const unordered = await collection.insertMany(things.slice(50), { ordered: false, chunkSize: 15, concurrency: 3 });
  assert.equal(unordered.insertedCount, 80);
  assert.deepEqual(new Set(unordered.insertedIds), new Set(things.slice(50).map((thing) => thing._id)));
  assert.deepEqual(await collection.insertMany([]), { insertedCount: 0, insertedIds: [] });
  await refused('COMMAND_FIELD_VALUE_INVALID', () => {
    const tooMany = Array.from({ length: 101 }, (_, n) => ({ n }));
    return database.command({ insertMany: { documents: tooMany } }, { collection: collection.name });
  });
});

await section('insertMany with errors', async () => {
  const given = ['a', 'b', 'c', 3, 'd', 'e', 4, 'f'].map((_id) => ({ _id, n: -1 }));
  const stopped = await failure(CollectionInsertManyError, () =>
    collection.insertMany(given, { ordered: true, chunkSize: 3 }),
  );
  assert.deepEqual(stopped.insertedIds(), ['a', 'b', 'c']);
  const [first] = stopped.errors() as DataAPIResponseError[];
  assert.deepEqual(first.errorDescriptors.map((item) => item.errorCode), ['DOCUMENT_ALREADY_EXISTS']);
  await collection.deleteMany({ n: -1 });
  const went = await failure(CollectionInsertManyError, () => collection.insertMany(given, { chunkSize: 4 }));
  assert.deepEqual(went.insertedIds().map(String).sort(), ['a', 'b', 'c', 'd', 'e', 'f']);
  assert.equal(went.errors().length, 2);
  assert.equal((await collection.deleteMany({ n: -1 })).deletedCount, 6);
  const badVector = await failure(CollectionInsertManyError, () =>
    collection.insertMany([{ _id: 'ok', n: -1 }, { _id: 'bad', n: -1, $vector: [1, 2] }]),
  );
  assert.deepEqual(badVector.insertedIds(), ['ok']);
  await collection.deleteOne({ _id: 'ok' });
});

await section('find: filters', async () => {
  const found = async (filter: object) => numbers(await collection.find(filter, { sort: { n: 1 } }).limit(4).toArray());
  assert.deepEqual(await found({ n: 7 }), [7]);
  assert.deepEqual(await found({ n: { $eq: 7 } }), [7]);
  assert.deepEqual(await found({ n: { $ne: 0 } }), [1, 2, 3, 4]);
  assert.deepEqual(await found({ n: { $gt: 3, $lte: 5 } }), [4, 5]);
  assert.deepEqual(await found({ n: { $gte: 3, $lt: 5 } }), [3, 4]);
  assert.deepEqual(await found({ _id: { $in: [4, 2, 'none'] } }), [2, 4]);
  assert.deepEqual(await found({ n: { $nin: [0, 1, 2] } }), [3, 4, 5, 6]);
  assert.deepEqual(await found({ color: { $exists: true } }), []);
  assert.deepEqual(await found({ tags: { $all: ['t1', 'all'] } }), [1, 4, 7, 10]);
  assert.deepEqual(await found({ tags: { $size: 3 } }), []);
  assert.deepEqual(await found({ tags: 't2' }), [2, 5, 8, 11]);
  assert.deepEqual(await found({ 'at.x': 4, kind: 'odd' }), [9, 19, 29, 39]);
  assert.deepEqual(await found({ 'at.path.1.mark': 'm1', 'at.path.0.step': { $lt: 4 } }), [1, 3]);
  assert.deepEqual(await found({ at: { x: 2, path: [{ step: 2 }, { step: 3, mark: 'm0' }] } }), [2]);
  assert.deepEqual(await found({ $and: [{ n: { $gt: 2 } }, { $or: [{ n: { $lt: 4 } }, { n: 8 }] }] }), [3, 8]);
  assert.deepEqual(await found({ $not: { $or: [{ kind: 'even' }, { n: { $lt: 5 } }] } }), [5, 7, 9, 11]);
  await refused('FILTER_UNSUPPORTED_OPERATOR', () => found({ n: { $regex: 'x' } }));
});

await section('find: projections', async () => {
  const projected = (projection: any) => collection.findOne({ _id: 3 }, { projection });
  assert.deepEqual(await projected({ n: 1 }), { _id: 3, n: 3 });
  assert.deepEqual(await projected({ n: true, _id: false }), { n: 3 });
  assert.deepEqual(await projected({ at: 0, tags: 0 }), { _id: 3, n: 3, kind: 'odd' });
  assert.deepEqual(await projected({ 'at.path.step': 1, _id: 0 }), { at: { path: [{ step: 3 }, { step: 4 }] } });
  assert.deepEqual(await projected({ tags: { $slice: 1 }, at: 0, n: 0 }), { _id: 3, kind: 'odd', tags: ['t0'] });
  assert.deepEqual((await projected({ tags: { $slice: [-1, 1] } }))?.tags, ['all']);
  assert.deepEqual((await projected({ '*': 1 }))?.$vector.asArray(), [0.5, 3 / 128, 0]);
  assert.deepEqual(await projected({ '*': 0 }), {});
  assert.equal((await collection.findOne({ _id: 3 }))?.$vector, undefined);
});

await section('find: sorts', async () => {
  const sorted = await collection.find({ n: { $lt: 6 } }, { sort: { kind: -1, n: 1 } }).toArray();
  assert.deepEqual(numbers(sorted), [1, 3, 5, 0, 2, 4]);
  assert.deepEqual(numbers(await collection.find({}, { sort: { n: -1 }, skip: 2, limit: 2 }).toArray()), [127, 126]);
  const near = { sort: { $vector: vector([0.5, 0.5, 0]) }, includeSimilarity: true };
  const nearest = await collection.find({}, { ...near, limit: 3 }).toArray();
  assert.deepEqual([nearest[0].n, new Set(numbers(nearest))], [64, new Set([63, 64, 65])]);
  assert.equal(nearest[0].$similarity, 1);
  assert.ok(Math.abs(nearest[1].$similarity! - 1 / (1 + 1 / 128 ** 2)) < 1e-6);
  assert.equal((await collection.find({}, { ...near, limit: 1000 }).toArray()).length, 130);
  const odd = await collection.findOne({ n: { $gt: 100 } }, { ...near, sort: { $vector: [0.5, 0.75, 0] } });
  assert.equal(odd?.n, 101);
  assert.ok(odd.$similarity! < 1);
  const floats = new DataAPIVector(new Float32Array([0.5, 0.25, 0]));
  assert.equal((await collection.findOne({}, { sort: { $vector: floats } }))?.n, 32);
  await refused('SORT_CLAUSE_INVALID', () => collection.findOne({}, { sort: { $vector: [1, 0, 0], n: 1 } }));
});

await section('findOneAndUpdate', async () => {
  const before = await collection.findOneAndUpdate({ _id: 1 }, { $set: { color: 'red' } });
  assert.deepEqual([before?.n, before?.color], [1, undefined]);
  const after = await collection.findOneAndUpdate(
    { kind: 'even' },
    { $push: { tags: 'last' } },
    { sort: { n: -1 }, returnDocument: 'after', projection: { tags: 1 } },
  );
  assert.deepEqual(after, { _id: 128, tags: ['t2', 'all', 'last'] });
  const update = { $set: { n: 500 }, $setOnInsert: { kind: 'made' } };
  assert.equal(await collection.findOneAndUpdate({ _id: 'made' }, update), null);
  assert.equal(await collection.findOneAndUpdate({ _id: 'made' }, update, { upsert: true }), null);
  const made = await collection.findOneAndUpdate({ _id: 'made 2', 'at.x': 9 }, update, {
    upsert: true,
    returnDocument: 'after',
  });
  assert.deepEqual(made, { _id: 'made 2', at: { x: 9 }, kind: 'made', n: 500 });
  const again = await collection.findOneAndUpdate({ _id: 'made 2' }, update, { returnDocument: 'before' });
  assert.equal(again?.n, 500);
  const near = { sort: { $vector: [0.5, 10 / 128, 0] }, projection: { n: 1 as const } };
  assert.deepEqual(await collection.findOneAndUpdate({}, { $unset: { at: '' } }, near), { _id: 10, n: 10 });
});

await section('findOneAndReplace and findOneAndDelete', async () => {
  const before = await collection.findOneAndReplace({ _id: 2 }, { n: 2, fresh: true }, { projection: { kind: 1 } });
  assert.deepEqual(before, { _id: 2, kind: 'even' });
  const options = { returnDocument: 'after', sort: { n: -1 } } as const;
  const after = await collection.findOneAndReplace({ n: { $lt: 3 } }, { n: 2, fresher: true }, options);
  assert.deepEqual(after, { _id: 2, n: 2, fresher: true });
  const replacement = { n: -3 };
  assert.equal(await collection.findOneAndReplace({ _id: 'none' }, replacement), null);
  assert.equal(await collection.findOneAndReplace({ _id: 'swapped' }, replacement, { upsert: true }), null);
  const made = await collection.findOneAndReplace({ _id: 'swapped 2' }, replacement, {
    upsert: true,
    returnDocument: 'after',
  });
  assert.deepEqual(made, { _id: 'swapped 2', n: -3 });
  await refused('DOCUMENT_REPLACE_DIFFERENT_DOCID', () =>
    collection.findOneAndReplace({ _id: 2 }, { _id: 'other', n: 2 } as any),
  );
  const gone = await collection.findOneAndDelete({ n: -3 }, { sort: { _id: -1 }, projection: { n: 1, _id: 0 } });
  assert.deepEqual(gone, { n: -3 });
  assert.deepEqual(await collection.findOneAndDelete({ _id: 'swapped' }), { _id: 'swapped', n: -3 });
  assert.equal(await collection.findOneAndDelete({ n: -3 }), null);
  const near = { sort: { $vector: [0.5, 129 / 128, 0] }, projection: { n: 1 as const } };
  assert.deepEqual(await collection.findOneAndDelete({}, near), { _id: 129, n: 129 });
});

await section('updateOne', async () => {
  const nothing = { matchedCount: 0, modifiedCount: 0, upsertedCount: 0 };
  const one = { matchedCount: 1, modifiedCount: 1, upsertedCount: 0 };
  assert.deepEqual(await collection.updateOne({ _id: 'none' }, { $set: { n: 1 } }), nothing);
  assert.deepEqual(await collection.updateOne({ _id: 3 }, { $set: { n: 3 } }), { ...one, modifiedCount: 0 });
  const upserted = await collection.updateOne({ _id: 'up', kind: 'new' }, { $inc: { n: 3 } }, { upsert: true });
  assert.deepEqual(upserted, { ...nothing, upsertedCount: 1, upsertedId: 'up' });
  assert.deepEqual(await collection.findOne({ _id: 'up' }), { _id: 'up', kind: 'new', n: 3 });
  await collection.replaceOne({ _id: 3 }, { n: 3, list: [1, 2], low: 5, high: 5, old: 'o', drop: 1, share: 4 });
  const update = {
    $set: { 'deep.er': [{ a: null }] },
    $unset: { drop: '' as const },
    $inc: { n: 10 },
    $mul: { share: 0.5 },
    $min: { low: 2 },
    $max: { high: 9 },
    $rename: { old: 'renamed' },
    $push: { list: { $each: [8, 9], $position: 0 } },
    $currentDate: { when: true },
  };
  assert.deepEqual(await collection.updateOne({ n: 3 }, update, { sort: { _id: 1 } }), one);
  const { when, ...changed } = (await collection.findOne({ _id: 3 }))!;
  assert.ok(when instanceof Date && Math.abs(when.getTime() - Date.now()) < 60_000);
  assert.deepEqual(changed, {
    ...{ _id: 3, n: 13, list: [8, 9, 1, 2], low: 2, high: 9, share: 2 },
    ...{ deep: { er: [{ a: null }] }, renamed: 'o' },
  });
  const arrays = { $addToSet: { list: { $each: [9, 10] } }, $pop: { 'deep.er': -1 } } as object;
  assert.deepEqual(await collection.updateOne({ _id: 3 }, arrays), one);
  const lists = await collection.findOne({ _id: 3 }, { projection: { list: 1, 'deep.er': 1, _id: 0 } });
  assert.deepEqual(lists, { list: [8, 9, 1, 2, 10], deep: { er: [] } });
  const near = { sort: { $vector: [0.5, 20 / 128, 0] } };
  assert.deepEqual(await collection.updateOne({}, { $set: { $vector: [9, 9, 9] } }, near), one);
  const moved = await collection.findOne({}, { sort: { $vector: [9, 9, 9] }, includeSimilarity: true });
  assert.deepEqual([moved?._id, moved?.$similarity], [20, 1]);
  await refused('UNSUPPORTED_UPDATE_OPERATION', () => collection.updateOne({ _id: 3 }, { $bit: { n: 1 } } as object));
});

await section('updateMany', async () => {
  const odd = await collection.countDocuments({ kind: 'odd' }, 1000);
  assert.ok(odd > 50);
  const many = await collection.updateMany({ kind: 'odd' }, { $set: { seen: true } });
  assert.deepEqual(many, { matchedCount: odd, modifiedCount: odd, upsertedCount: 0 });
  const again = await collection.updateMany({ kind: 'odd' }, { $set: { seen: true } });
  assert.deepEqual(again, { matchedCount: odd, modifiedCount: 0, upsertedCount: 0 });
  const none = await collection.updateMany({ _id: 'nobody' }, { $set: { seen: true } });
  assert.deepEqual(none, { matchedCount: 0, modifiedCount: 0, upsertedCount: 0 });
  const made = await collection.updateMany({ _id: 'nobody' }, { $set: { n: 1 } }, { upsert: true });
  assert.deepEqual(made, { matchedCount: 0, modifiedCount: 0, upsertedCount: 1, upsertedId: 'nobody' });
  const error = await failure(CollectionUpdateManyError, () =>
    collection.updateMany({ kind: 'odd' }, { $inc: { kind: 1 } } as object),
  );
  assert.ok(error.cause instanceof DataAPIResponseError);
  assert.deepEqual(error.partialResult, { matchedCount: 0, modifiedCount: 0, upsertedCount: 0 });
});

await section('replaceOne', async () => {
  const one = { matchedCount: 1, modifiedCount: 1, upsertedCount: 0 };
  assert.deepEqual(await collection.replaceOne({ _id: 4 }, { n: 4, bare: 1, $vector: [0, 0, 7] }), one);
  assert.deepEqual(await collection.findOne({ _id: 4 }), { _id: 4, n: 4, bare: 1 });
  assert.equal((await collection.findOne({}, { sort: { $vector: [0, 0, 7] } }))?._id, 4);
  assert.deepEqual(await collection.replaceOne({}, { n: 4 }, { sort: { $vector: [0, 0, 7] } }), one);
  const same = await collection.replaceOne({ _id: 4 }, { n: 4 });
  assert.deepEqual(same, { ...one, modifiedCount: 0 });
  const made = await collection.replaceOne({ _id: 'put' }, { n: 0 }, { upsert: true });
  assert.deepEqual(made, { matchedCount: 0, modifiedCount: 0, upsertedCount: 1, upsertedId: 'put' });
  assert.equal((await collection.replaceOne({ _id: 'none' }, { n: 0 })).matchedCount, 0);
});

await section('distinct', async () => {
  assert.deepEqual((await collection.distinct('kind', { n: { $lt: 100 } })).sort(), ['even', 'new', 'odd']);
  assert.deepEqual((await collection.distinct('tags', {})).sort(), ['all', 'last', 't0', 't1', 't2']);
  assert.deepEqual((await collection.distinct('tags.0', { kind: 'odd' })).sort(), ['t0', 't1', 't2']);
  assert.deepEqual((await collection.distinct('at.x', { n: { $gt: 20, $lt: 99 } })).sort(), [0, 1, 2, 3, 4]);
  assert.deepEqual((await collection.distinct('at.path.mark', {})).sort(), ['m0', 'm1']);
  assert.deepEqual(await collection.distinct('at.path.1', { _id: 30 }), [{ step: 31, mark: 'm0' }]);
  assert.deepEqual(await collection.distinct('nowhere', {}), []);
});

await section('countDocuments and estimatedDocumentCount', async () => {
  assert.equal(await collection.countDocuments({ n: { $gte: 30, $lt: 60 } }, 30), 30);
  const over = await failure(TooManyDocumentsToCountError, () => collection.countDocuments({ tags: 'all' }, 5));
  assert.deepEqual([over.limit, over.hitServerLimit], [5, false]);
  await collection.insertMany(
    Array.from({ length: 1001 }, (_, n) => ({ n, bulk: true })),
    { chunkSize: 100, concurrency: 4 },
  );
  const server = await failure(TooManyDocumentsToCountError, () => collection.countDocuments({ bulk: true }, 5000));
  assert.deepEqual([server.limit, server.hitServerLimit], [1000, true]);
  assert.ok((await collection.estimatedDocumentCount()) > 1100);
});

await section('deleteOne and deleteMany', async () => {
  assert.deepEqual(await collection.deleteOne({ _id: 'none' }), { deletedCount: 0 });
  assert.deepEqual(await collection.deleteOne({ kind: 'even' }, { sort: { n: -1 } }), { deletedCount: 1 });
  assert.equal(await collection.findOne({ _id: 128 }), null);
  assert.deepEqual(await collection.deleteOne({}, { sort: { $vector: [9, 9, 9] } }), { deletedCount: 1 });
  assert.equal(await collection.findOne({ _id: 20 }), null);
  const error = await failure(CollectionDeleteManyError, () => collection.deleteMany({ n: { $what: 1 } }));
  assert.ok(error.cause instanceof DataAPIResponseError);
  assert.deepEqual(error.partialResult, { deletedCount: 0 });
  assert.deepEqual(await collection.deleteMany({ n: { $gte: 100 }, bulk: true }), { deletedCount: 901 });
  assert.deepEqual(await collection.deleteMany({ n: { $gte: 1000 } }), { deletedCount: 0 });
  assert.deepEqual(await collection.deleteMany({}), { deletedCount: -1 });
  assert.equal(await collection.countDocuments({}, 1), 0);
  await assert.rejects(collection.deleteMany(null as any), /filter/);
});

await section('options and drop', async () => {
  const { vector: definition, lexical, rerank } = await collection.options();
  assert.deepEqual(definition, { dimension: 3, metric: 'euclidean', sourceModel: 'other' });
  assert.deepEqual([lexical?.enabled, rerank?.enabled], [false, false]);
  assert.deepEqual([collection.name, collection.keyspace], [named('methods'), 'default_keyspace']);
  await collection.drop();
  await refused('UNKNOWN_COLLECTION_OR_TABLE', () => collection.findOne({}));
});

await section('every method with texts', async () => {
  const texts = await database.createCollection<SomeDoc>(named('texts'), { vector: { service } });
  const [comet, cake, goal] = ['A probe landed on a comet', 'A chocolate cake', 'The striker scored a goal'];
  await texts.insertOne({ _id: 'comet', $vectorize: comet });
  await texts.insertMany([{ _id: 'cake', $vectorize: cake }, { _id: 'plain' }]);
  await texts.updateOne({ _id: 'goal' }, { $set: { $vectorize: goal } }, { upsert: true });
  const sort = { $vectorize: 'spacecraft' };
  const found = (await texts.findOne({}, { sort, includeSimilarity: true, projection: { '*': 1 } }))!;
  assert.deepEqual([found._id, found.$vectorize, found.$vector.length], ['comet', comet, Number(env.DIMENSION)]);
  const cursor = texts.find({}, { sort, limit: 2, includeSimilarity: true, includeSortVector: true });
  assert.equal((await cursor.getSortVector())?.length, Number(env.DIMENSION));
  const similarities = (await cursor.toArray()).map((document) => document.$similarity);
  assert.deepEqual(similarities, [...similarities].sort().reverse());
  assert.equal(similarities[0], found.$similarity);
  const food = { $vectorize: 'dessert' };
  assert.equal((await texts.findOneAndUpdate({}, { $set: { sweet: true } }, { sort: food }))?._id, 'cake');
  assert.equal((await texts.findOneAndReplace({}, { $vectorize: comet }, { sort: food }))?._id, 'cake');
  const replaced = await texts.replaceOne({}, { $vectorize: cake }, { sort: { $vectorize: 'football' } });
  assert.equal(replaced.modifiedCount, 1);
  assert.equal((await texts.findOneAndDelete({}, { sort: food }))?._id, 'goal');
  assert.equal((await texts.deleteOne({}, { sort })).deletedCount, 1);
  assert.equal(await texts.countDocuments({}, 10), 2);
  await texts.drop();
});

done();
