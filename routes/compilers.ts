import type { FastifyInstance } from 'fastify'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'

/** Validation and serialisation of this library's own, whatever the app has chosen for its routes. */
export function useOwnCompilers (routes: FastifyInstance): void {
  routes.setValidatorCompiler(TypeBoxValidatorCompiler)
  const serializer = SerializerSelector()({})
  routes.setSerializerCompiler(({ httpStatus = '', ...route }) => {
    const serializeError = serializer({ ...route, httpStatus })
    // The app's error handler or hook may answer in a form of its own
    return (answer) => answer instanceof Error ? serializeError(answer) : JSON.stringify(answer)
  })
}
