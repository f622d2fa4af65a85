import { schemaFile } from '../../schemas/files.ts'

/** The product's version, as in package.json. */
export function productVersion(): string {
  return (JSON.parse(schemaFile('../package.json')) as { version: string }).version
}
