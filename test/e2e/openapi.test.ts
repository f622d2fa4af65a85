import { afterAll, beforeAll, expect, test } from 'vitest'
import { missingExamples } from '../../ops/host/openapi.ts'
import { newDataFolder, type Product, removeDataFolder, startProduct } from '../support/product.ts'

const folder = newDataFolder()
let product: Product
beforeAll(async () => {
  product = await startProduct(folder)
})
afterAll(async () => {
  await product.stop()
  await removeDataFolder(folder)
})

type Document = { openapi: string; paths: Record<string, Record<string, { 'x-permission'?: string }>> }

test('the OpenAPI 3.1 document describes every route with a permission and an example', async () => {
  const document = (await (await fetch(`${product.url}/openapi.json`)).json()) as Document
  expect(document.openapi).toBe('3.1.0')
  expect(missingExamples(document)).toEqual([])
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path))
  expect(operations.length).toBeGreaterThan(25)
  expect(operations.filter((operation) => !operation['x-permission'])).toEqual([])
})

test('HC-9: the metrics have the names that the requirements give them', async () => {
  const text = await (await fetch(`${product.url}/metrics`)).text()
  for (const name of [
    'billing_usage_total',
    'billing_revenue_total',
    'billing_quota_exceeded_total',
    'billing_response_time_seconds',
  ]) {
    expect(text).toContain(`# TYPE ${name} `)
  }
})

test('without a key every route but the public ones answers 401', async () => {
  const document = (await (await fetch(`${product.url}/openapi.json`)).json()) as Document
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const response = await fetch(`${product.url}${path.replaceAll(/\{\w+\}/g, 'x')}`, {
        method: method.toUpperCase(),
      })
      await response.arrayBuffer()
      expect(`${method} ${path} ${response.status === 401}`).toBe(
        `${method} ${path} ${operation['x-permission'] !== 'public'}`,
      )
    }
  }
})
