// Every method of the cursors of astra-db-ts, over several pages, by id order, by fields and by vector.
import assert from 'node:assert/strict';
import { CursorError, type SomeDoc } from '@datastax/astra-db-ts';
import { database, done, failure, named, refused, section } from './connect.ts';

const COUNT = 130;
const PAGE = 50;
const collection = await database.createCollection<SomeDoc>(named('cursors'), {
  vector: { dimension: 2, metric: 'cosine' },
});
const things = Array.from({ length: COUNT }, (_, n) => ({ _id: n, n, $vector: [1, n] }));
await collection.insertMany(things, { ordered: true, chunkSize: 100 });
const all = things.map((thing) => thing.n);
const sorted = (values: number[]) => [...values].sort((left, right) => left - right);

await section('next and hasNext', async () => {
  const cursor = collection.find({ n: { $lt: 2 } }, { sort: { n: 1 } });
  assert.equal(cursor.state, 'idle');
  assert.equal(cursor.dataSource, collection);
  assert.equal(await cursor.hasNext(), true);
  assert.deepEqual([cursor.state, cursor.buffered(), cursor.consumed()], ['started', 2, 0]);
  assert.deepEqual(await cursor.next(), { _id: 0, n: 0 });
  assert.deepEqual([cursor.buffered(), cursor.consumed()], [1, 1]);
  assert.equal((await cursor.next())?.n, 1);
  assert.equal(await cursor.hasNext(), false);
  assert.equal(await cursor.next(), null);
  assert.deepEqual([cursor.state, cursor.buffered(), cursor.consumed()], ['closed', 0, 2]);
});

await section('async iteration', async () => {
  const seen: number[] = [];
  const cursor = collection.find({});
  for await (const document of cursor) {
    seen.push(document.n);
  }
  assert.deepEqual(sorted(seen), all);
  assert.deepEqual([cursor.state, cursor.consumed()], ['closed', COUNT]);
  const left = collection.find({});
  for await (const _ of left) {
    if (left.consumed() === PAGE + 1) {
      break;
    }
  }
  assert.equal(left.state, 'closed');
  await failure(CursorError, () => left.toArray());
});

await section('forEach and toArray', async () => {
  const seen: number[] = [];
  const cursor = collection.find({});
  await cursor.forEach((document) => {
    seen.push(document.n);
  });
  assert.deepEqual(sorted(seen), all);
  let some = 0;
  await collection.find({}).forEach(async () => ++some < PAGE + 10);
  assert.equal(some, PAGE + 10);
  assert.deepEqual(sorted((await collection.find({}).toArray()).map((document) => document.n)), all);
  assert.equal((await collection.find({ n: -1 }).toArray()).length, 0);
});

await section('rewind, clone, close', async () => {
  const cursor = collection.find({});
  const first = await cursor.next();
  await cursor.next();
  const copy = cursor.clone();
  assert.deepEqual([copy.state, copy.consumed(), cursor.consumed()], ['idle', 0, 2]);
  assert.deepEqual(await copy.next(), first);
  cursor.rewind();
  assert.deepEqual([cursor.state, cursor.consumed(), cursor.buffered()], ['idle', 0, 0]);
  assert.equal((await cursor.toArray()).length, COUNT);
  cursor.rewind();
  assert.deepEqual(await cursor.next(), first);
  cursor.close();
  assert.deepEqual([cursor.state, await cursor.next(), await cursor.hasNext()], ['closed', null, false]);
});

await section('the buffer', async () => {
  const cursor = collection.find({});
  assert.deepEqual(cursor.consumeBuffer(), []);
  await cursor.hasNext();
  assert.equal(cursor.buffered(), PAGE);
  assert.equal(cursor.consumeBuffer(20).length, 20);
  assert.deepEqual([cursor.buffered(), cursor.consumed()], [PAGE - 20, 20]);
  assert.equal(cursor.consumeBuffer().length, PAGE - 20);
  assert.equal((await cursor.toArray()).length, COUNT - PAGE);
});

await section('options by chaining', async () => {
  const base = collection.find({});
  const chained = base.filter({ n: { $gte: 10 } }).sort({ n: -1 }).skip(1).limit(3).project({ n: 1, _id: 0 });
  assert.deepEqual(await chained.toArray(), [{ n: 128 }, { n: 127 }, { n: 126 }]);
  assert.equal(base.state, 'idle');
  const texts = base.limit(2).sort({ n: 1 }).map((document) => document.n + 1).map((n) => `${n}!`);
  assert.deepEqual(await texts.toArray(), ['1!', '2!']);
  await failure(CursorError, async () => texts.sort({ n: 1 }));
  await failure(CursorError, async () => base.map((document) => document).project({ n: 1 }));
  const started = collection.find({});
  await started.next();
  await failure(CursorError, async () => started.filter({}));
  assert.equal((await collection.find({}).limit(PAGE + 20).toArray()).length, PAGE + 20);
  assert.equal((await collection.find({}).limit(0).toArray()).length, COUNT);
  assert.equal((await collection.find({}).sort({ n: 1 }).toArray()).length, PAGE);
});

await section('by vector', async () => {
  const near = collection.find({}).sort({ $vector: [1, 0] }).limit(2).includeSimilarity().includeSortVector();
  const found = await near.toArray();
  assert.deepEqual(found.map((document) => document.n), [0, 1]);
  assert.equal(found[0].$similarity, 1);
  assert.ok(Math.abs(found[1].$similarity! - (1 + Math.SQRT1_2) / 2) < 1e-6);
  const again = collection.find({}, { sort: { $vector: [1, 0] }, includeSortVector: true });
  assert.deepEqual((await again.getSortVector())?.asArray(), [1, 0]);
  assert.deepEqual((await again.next())?.n, 0);
  assert.deepEqual((await again.getSortVector())?.asArray(), [1, 0]);
  assert.equal((await again.toArray()).length, COUNT - 1);
  assert.equal(await collection.find({}).sort({ $vector: [1, 0] }).getSortVector(), null);
  assert.equal(await collection.find({}).includeSortVector().getSortVector(), null);
});

await section('pages', async () => {
  const cursor = collection.find({}).map((document) => document.n as number);
  const first = await cursor.fetchNextPage();
  assert.equal(first.result.length, PAGE);
  assert.ok(first.nextPageState);
  const second = await cursor.fetchNextPage();
  const resumed = collection.find({}, { initialPageState: first.nextPageState }).map((document) => document.n);
  assert.deepEqual(await resumed.fetchNextPage(), second);
  const third = await collection.find({}).initialPageState(second.nextPageState!).fetchNextPage();
  assert.equal(third.nextPageState, null);
  const seen = [...first.result, ...second.result, ...third.result.map((document) => document.n as number)];
  assert.deepEqual(sorted(seen), all);
  await cursor.fetchNextPage();
  assert.equal(cursor.state, 'closed');
  assert.deepEqual((await cursor.fetchNextPage()).result, []);
  const rest = await collection.find({}).initialPageState(first.nextPageState).toArray();
  assert.equal(rest.length, COUNT - PAGE);
  const near = collection.find({}).sort({ $vector: [1, 0] }).limit(3).includeSortVector();
  const page = await near.fetchNextPage();
  assert.deepEqual([page.result.length, page.nextPageState, page.sortVector?.asArray()], [3, null, [1, 0]]);
  await failure(CursorError, async () => collection.find({}, { initialPageState: null }));
  const foreign = collection.find({}).initialPageState('nonsense');
  await refused('COMMAND_FIELD_VALUE_INVALID', () => foreign.toArray());
});

await section('documents that change under a cursor', async () => {
  const cursor = collection.find({});
  await cursor.next();
  const buffered = new Set(cursor.consumeBuffer().map((document) => document.n));
  const gone = all.find((n) => n > 5 && !buffered.has(n))!;
  await collection.deleteOne({ _id: gone });
  const rest = await cursor.toArray();
  assert.equal(rest.length, COUNT - PAGE - 1);
  assert.ok(rest.every((document) => document.n !== gone));
});

await section('refusals reach the caller and close the cursor', async () => {
  const cursor = collection.find({ n: { $what: 1 } });
  await refused('FILTER_UNSUPPORTED_OPERATOR', () => cursor.next());
  assert.equal(cursor.state, 'closed');
  await refused('FILTER_UNSUPPORTED_OPERATOR', () => collection.find({ n: { $what: 1 } }).toArray());
  // There is no reranking yet: its command is refused by name.
  const hybrid = collection.findAndRerank({}).sort({ $hybrid: 'anything' });
  await refused('RERANKING_FEATURE_NOT_ENABLED', () => hybrid.toArray());
});

await collection.drop();
done();
