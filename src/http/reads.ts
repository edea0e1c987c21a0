import type { LatestQuery, Resource, ResourceList } from '../../schemas/vital-data.ts'

/** What the GET routes ask of PostgreSQL. Rejects when it is away, within the pool's time-outs. */
export interface Reads {
  listLatest (query: LatestQuery): Promise<ResourceList>
  /** `undefined` when no reading of that device was ever stored. */
  findLatest (device: string): Promise<Resource | undefined>
}
