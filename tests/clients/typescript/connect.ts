// What the programs share: the connection, one line a section, and the check of an error's code.
import assert from 'node:assert/strict';
import { DataAPIClient, DataAPIResponseError } from '@datastax/astra-db-ts';

export const env = process.env as Record<string, string>;
export const environment = env.ENVIRONMENT as 'hcd';
export const access = { token: env.ORRERY_TOKEN, keyspace: 'default_keyspace' };
export const client = new DataAPIClient({ environment });
export const database = client.db(env.ORRERY_URL, access);

/** What makes texts into vectors. */
export const service = {
  provider: env.PROVIDER,
  modelName: env.MODEL,
  authentication: { providerKey: env.KEY_NAME },
};

/** The name of a collection of this run. */
export function named(subject: string): string {
  return `${env.COLLECTION}_${subject}`;
}

/** Runs one part of a program and prints its title once it has passed. */
export async function section(title: string, body: () => Promise<void>): Promise<void> {
  await body();
  console.log(`passed: ${title}`);
}

/** Prints what the test waits for. */
export function done(): void {
  console.log(JSON.stringify({ done: true }));
}

/** Returns the error with which an action fails; it must be of a kind. */
export async function failure<E extends Error>(
  kind: abstract new (...given: any[]) => E,
  action: () => Promise<unknown>,
): Promise<E> {
  const problem = await action().then(
    (result) => assert.fail(`a ${kind.name} was expected, there was ${JSON.stringify(result)}`),
    (error: unknown) => error,
  );
  assert.ok(problem instanceof kind, `a ${kind.name} was expected, there was ${problem}`);
  return problem;
}

/** Checks that the server refuses an action with this code. */
export async function refused(code: string, action: () => Promise<unknown>): Promise<DataAPIResponseError> {
  const error = await failure(DataAPIResponseError, action);
  assert.equal(error.errorDescriptors[0].errorCode, code, error.message);
  return error;
}
