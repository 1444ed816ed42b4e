// Every type of value that astra-db-ts can send to a collection: written, read, found and refused.
import assert from 'node:assert/strict';
import {
  BigNumber,
  CollectionCodecs,
  DataAPIVector,
  NumCoercionError,
  ObjectId,
  type SomeDoc,
  UUID,
  escapeFieldNames,
  oid,
  unescapeFieldPath,
  uuid,
  vector,
} from '@datastax/astra-db-ts';
import { database, done, failure, named, refused, section } from './connect.ts';

const NAME = named('values');
const collection = await database.createCollection<SomeDoc>(NAME, { vector: { dimension: 4, metric: 'dot_product' } });

/** Writes a value, reads it back, and finds the document by it. */
async function kept(value: any): Promise<any> {
  const { insertedId } = await collection.insertOne({ value });
  const document = await collection.findOne({ _id: insertedId });
  assert.equal(await collection.countDocuments({ _id: insertedId, value: { $eq: value } }, 2), 1);
  return document?.value;
}

await section('JSON values', async () => {
  const texts = ['', 'plain', 'quote " and \\ and \n', 'ünïcödé ✓ 漢字 🪐', ' '];
  const numbers = [0, -1, 0.1, 1e-7, 1.5e20, Number.MAX_SAFE_INTEGER, Number.MIN_VALUE, -Number.MAX_VALUE];
  for (const value of [...texts, ...numbers, true, false, null, [], {}, [1, [2, [3, []]], { a: [null] }]]) {
    assert.deepEqual(await kept(value), value);
  }
  const nested = { a: { b: { c: [{ d: 1 }, 'x', null], e: {} } }, 'with space': 1, ünï: { '✓': true } };
  assert.deepEqual(await kept(nested), nested);
  await collection.insertOne({ _id: 'absent', there: 1, absent: undefined });
  assert.deepEqual(await collection.findOne({ _id: 'absent' }), { _id: 'absent', there: 1 });
});

await section('Date', async () => {
  for (const date of [new Date(0), new Date('2024-05-06T07:08:09.123Z'), new Date(-86400000)]) {
    assert.deepEqual(await kept(date), date);
  }
  await collection.insertOne({ _id: 'dated', at: new Date(5000), list: [new Date(1), { deep: new Date(2) }] });
  assert.equal((await collection.findOne({ at: { $gt: new Date(4999), $lte: new Date(5000) } }))?._id, 'dated');
  assert.deepEqual((await collection.findOne({ _id: 'dated' }))?.list, [new Date(1), { deep: new Date(2) }]);
  assert.deepEqual(await collection.distinct('at', { _id: 'dated' }), [new Date(5000)]);
  await assert.rejects(collection.insertOne({ at: new Date('never') }), /invalid date/i);
});

await section('ObjectId and UUID', async () => {
  const id = oid('65f0a1b2c3d4e5f6a7b8c9d0');
  const uuids = [uuid.v1(), uuid.v4(), uuid.v6(), uuid.v7(), uuid('0191F4C0-0000-7000-8000-000000000001')];
  assert.deepEqual(uuids.map((item) => item.version), [1, 4, 6, 7, 7]);
  for (const value of [id, new ObjectId(), ...uuids]) {
    const got = await kept(value);
    assert.equal(got.constructor, value.constructor);
    assert.ok(value.equals(got), `${value} became ${got}`);
  }
  assert.deepEqual(id.getTimestamp(), new Date(0x65f0a1b2 * 1000));
  const [stored] = await collection.distinct('value', { value: uuids[3] });
  assert.ok(stored instanceof UUID && stored.getTimestamp()!.getTime() === uuids[3].getTimestamp()!.getTime());
  await refused('SHRED_BAD_EJSON_VALUE', () => collection.insertOne({ value: { $uuid: 'none' } }));
});

await section('ids of every type', async () => {
  const ids = ['text', 17, -0.5, true, new Date(1700000000000), oid(), uuid.v4(), uuid.v7()];
  const { insertedIds } = await collection.insertMany(ids.map((_id) => ({ _id, many: true })), { ordered: true });
  assert.deepEqual(insertedIds.map(String), ids.map(String));
  for (const _id of ids) {
    assert.equal(String((await collection.findOne({ _id }))?._id), String(_id));
    await refused('DOCUMENT_ALREADY_EXISTS', () => collection.insertOne({ _id }));
  }
  const some = await collection.find({ _id: { $in: ids.slice(4) } }).toArray();
  assert.deepEqual(some.map((document) => String(document._id)).sort(), ids.slice(4).map(String).sort());
  // The client takes an id that JavaScript counts as false (0, '', false) for no upsert.
  for (const _id of [oid(), uuid.v7(), new Date(1), 99, 'put']) {
    const { upsertedId } = await collection.updateOne({ _id }, { $set: { many: true } }, { upsert: true }) as any;
    assert.equal(String(upsertedId), String(_id));
  }
  assert.equal((await collection.deleteMany({ many: true })).deletedCount, ids.length + 5);
  await refused('SHRED_BAD_DOCID_TYPE', () => collection.insertOne({ _id: { a: 1 } } as any));
});

await section('DataAPIVector', async () => {
  const values = [0.25, -1.5, 0, 3.0000000000001];
  const floats = new Float32Array(values);
  const kinds = [values, floats, vector(values), new DataAPIVector({ $binary: vector(values).asBase64() })];
  for (const [at, $vector] of kinds.entries()) {
    await collection.insertOne({ _id: `vector ${at}`, $vector });
    const found = await collection.findOne({ _id: `vector ${at}` }, { projection: { $vector: 1 } });
    assert.ok(found?.$vector instanceof DataAPIVector);
    assert.deepEqual([found.$vector.length, found.$vector.asFloat32Array()], [4, floats]);
    assert.equal(found.$vector.asBase64(), vector(floats).asBase64());
    assert.deepEqual(new Float32Array(found.$vector.asArray()), floats);
  }
  const moved = { $set: { $vector: vector([9, 9, 9, 9]) } };
  await collection.updateOne({ _id: 'vector 0' }, moved);
  const best = await collection.findOne({}, { sort: { $vector: vector([1, 1, 1, 1]) }, projection: { '*': 1 } });
  assert.deepEqual([best?._id, best?.$vector.asArray()], ['vector 0', [9, 9, 9, 9]]);
  await refused('SHRED_BAD_BINARY_VECTOR_VALUE', () => collection.insertOne({ $vector: { $binary: 'AAA' } } as any));
});

await section('big numbers', async () => {
  const [big, exact] = [123456789012345678901234567890n, BigNumber('0.12345678901234567890123456789')];
  const precise = database.collection<SomeDoc>(NAME, {
    serdes: { enableBigNumbers: { '*': 'number_or_string', big: 'bigint', 'money.*': 'bignumber', small: 'number' } },
  });
  await precise.insertOne({ _id: 'big', big, money: { exact, list: [exact, big] }, small: 7, odd: big, even: 2 });
  const found = (await precise.findOne({ big }))!;
  assert.deepEqual([found.big, found.small, found.even, found.money.exact.toFixed()], [big, 7, 2, exact.toFixed()]);
  assert.ok(typeof found.odd === 'string' && BigNumber(found.odd).isEqualTo(big.toString()));
  assert.deepEqual(found.money.list.map((item: BigNumber) => item.toFixed()), [exact.toFixed(), big.toString()]);
  assert.equal(await precise.countDocuments({ big: { $gt: big - 1n, $lt: big + 1n }, 'money.exact': exact }, 5), 1);
  assert.equal(await precise.countDocuments({ big: { $gt: big } }, 5), 0);
  await precise.updateOne({ _id: 'big' }, { $inc: { big: 1n }, $mul: { 'money.exact': 2 } } as any);
  const changed = (await precise.findOne({ _id: 'big' }))!;
  assert.deepEqual([changed.big, changed.money.exact.toFixed()], [big + 1n, exact.times(2).toFixed()]);
  const strict = database.collection<SomeDoc>(NAME, { serdes: { enableBigNumbers: () => 'strict_number' } });
  await failure(NumCoercionError, () => strict.findOne({ _id: 'big' }));
  const texts = database.collection<SomeDoc>(NAME, { serdes: { enableBigNumbers: { '*': 'string' } } });
  assert.equal((await texts.findOne({ _id: 'big' }))?.small, '7');
  const { insertedId } = await precise.insertOne({ _id: big as any });
  assert.equal(BigNumber(insertedId as string).toFixed(), String(big));
  await assert.rejects(collection.insertOne({ big }), /BigInt/);
  await assert.rejects(collection.insertOne({ exact }), /BigNumber/);
});

await section('codecs', async () => {
  class Celsius {
    constructor(readonly degrees: number) {}
  }
  const temperature = CollectionCodecs.custom({
    serializeClass: Celsius,
    serialize: (value: Celsius, context) => context.done({ celsius: value.degrees }),
    deserializeGuard: (value) => typeof value?.celsius === 'number',
    deserialize: (value, context) => context.done(new Celsius(value.celsius)),
  });
  const shouted = CollectionCodecs.forName('shout', {
    serialize: (value, context) => context.done(value.toLowerCase()),
    deserialize: (value, context) => context.done(value.toUpperCase()),
  });
  const coded = database.collection<SomeDoc>(NAME, { serdes: { codecs: [temperature, shouted], mutateInPlace: true } });
  await coded.insertOne({ _id: 'coded', water: new Celsius(20), shout: 'HEY' });
  const found = await coded.findOne({ 'water.celsius': 20 });
  assert.deepEqual(found, { _id: 'coded', water: new Celsius(20), shout: 'HEY' });
  assert.deepEqual((await collection.findOne({ _id: 'coded' }))?.shout, 'hey');
});

await section('field names', async () => {
  const names = ['a.b', 'c&d', 'e'];
  const path = escapeFieldNames(...names);
  assert.equal(path, 'a&.b.c&&d.e');
  assert.deepEqual(unescapeFieldPath(path), names);
  assert.equal(escapeFieldNames`list.${0}.${'x.y'}`, 'list.0.x&.y');
  await collection.insertOne({ _id: 'dots', 'a.b': { 'c&d': { e: 1, f: 2 } }, list: [{ 'x.y': 'z' }] });
  const found = await collection.findOne({ [path]: 1 }, { projection: { [path]: 1 } });
  assert.deepEqual(found, { _id: 'dots', 'a.b': { 'c&d': { e: 1 } } });
  assert.equal((await collection.findOne({ [escapeFieldNames('list', 0, 'x.y')]: 'z' }))?._id, 'dots');
  const update = { $set: { [escapeFieldNames('new.name', 'in')]: 3 }, $inc: { [path]: 4 }, $unset: { list: '' } };
  await collection.updateOne({ _id: 'dots' }, update as object);
  const after = await collection.findOne({ [path]: 5 }, { sort: { [path]: 1 } });
  assert.deepEqual(after, { _id: 'dots', 'a.b': { 'c&d': { e: 5, f: 2 } }, 'new.name': { in: 3 } });
  await refused('SHRED_BAD_FIELD_NAME', () => collection.insertOne({ $wrong: 1 }));
});

await section('limits of one document', async () => {
  const violated = (document: object) => refused('SHRED_DOC_LIMIT_VIOLATION', () => collection.insertOne(document));
  await violated({ text: 'x'.repeat(8001) });
  await violated({ list: Array.from({ length: 1001 }, () => 0) });
  let deep: object = {};
  for (let level = 0; level < 20; level++) {
    deep = { deep };
  }
  await violated(deep);
});

await collection.drop();
done();
